"""Direct preference optimisation (arXiv 2305.18290) over TRL's DPOTrainer.

The trainer is unmodified. Three things are done around it. Tokens are those of inference: TRL would
tokenise prompt and answer as one text, where tokens may merge across the boundary. The reference's
log-probabilities are computed beforehand and kept (`reference`), so that no second model is in memory
and none is reloaded from the path that the configuration names, which under full fine-tuning of a model
changed in memory is another model. And the order of pairs is fixed beforehand (`schedule`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from personakit.config.training import PreferenceSettings
from personakit.errors import UserError
from personakit.models.environment import silence_libraries
from personakit.models.tokens import cut_middle, encode_answers, encode_prompts
from personakit.training.fitting import (
    Finetuned,
    TrainedOn,
    common_arguments,
    decide_and_record,
    fit,
    plan,
    quietly,
    stage_result,
)
from personakit.training.four_bit import adapter_in_float32
from personakit.training.precision import Precision
from personakit.training.processes import from_first
from personakit.training.progress import Staged
from personakit.training.reference import TokenRow, reference_logps
from personakit.training.schedule import Schedule, make_schedule
from personakit.training.stage import Stage, StageMetrics, check_stage, train_batch_size
from personakit.training.weights import Trainable, load_trainable

_METRICS = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "entropy": "entropy",
    "mean_token_accuracy": "token_accuracy",
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "rewards/chosen": "chosen_reward",
    "rewards/rejected": "rejected_reward",
    "logps/chosen": "chosen_logp",
    "logps/rejected": "rejected_logp",
}


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """Two answers to one prompt, the better one first."""

    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class TokenPair:
    """A pair in tokens; the answers include the end of sequence."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def tokens(self) -> int:
        """Tokens of both rows: prompt and chosen, prompt and rejected."""
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)


def optimise(
    model: str,
    pairs: Sequence[TrainingPair],
    settings: PreferenceSettings,
    stage: Stage,
    *,
    evaluation: Sequence[TrainingPair] = (),
) -> Finetuned:
    """Train `model` to prefer `chosen` to `rejected`; leave the result in the stage's output folder.

    The reference is `model` as it is now: a folder (of an earlier stage, with weights or an adapter), a
    hub name or `nano`. Resumes, and passes over a stage that is done, as `supervised.finetune`. Loss and
    accuracy on `evaluation` are logged every `eval_steps`. Raises `UserError` for pairs that cannot be
    trained on.
    """
    done = stage_result(stage)
    if done is not None:
        return done
    if not pairs:
        raise UserError(
            f'stage "{stage.name}" has no preference pairs', hint="check what the filters left over"
        )
    check_stage(settings, stage, evaluates=bool(evaluation))
    silence_libraries()
    precision = decide_and_record(stage)
    start = load_trainable(model, stage.lora, precision)
    trained, cut = tokenized(start.tokenizer, pairs, stage)
    judged, _ = tokenized(start.tokenizer, evaluation, stage)
    schedule = make_schedule(
        [pair.tokens for pair in trained],
        batch_size=train_batch_size(settings),
        seed=stage.run.seed,
        epochs=settings.num_train_epochs,
        max_steps=settings.max_steps,
        max_tokens=stage.max_tokens,
        group_by_length=stage.group_by_length,
        whole_batches=True,  # the loss is a mean over the batch: in a short one a pair would weigh more
    )
    with Staged(stage.progress, f"{stage.name}: reference", 2 * len(trained + judged)) as reporter:
        logps = reference_logps(
            start.network,
            [TokenRow(p.prompt, answer) for p in trained + judged for answer in (p.chosen, p.rejected)],
            fingerprint=start.fingerprint,
            precision=precision,
            pad_id=start.tokenizer.pad_token_id or 0,
            on_progress=lambda made, _: reporter.update(made),
        )
    work = plan(
        start,
        settings,
        precision,
        stage,
        rows=2 * settings.per_device_train_batch_size,
        prompt=max(len(pair.prompt) for pair in trained),
        answer=max(len(answer) for pair in trained for answer in (pair.chosen, pair.rejected)),
        sharing=2,
    )
    rows = [_row(pair, *logps[2 * place : 2 * place + 2]) for place, pair in enumerate(trained + judged)]
    trainer = _trainer(
        start,
        [rows[place] for place in schedule.order],
        rows[len(trained) :],
        schedule,
        settings,
        precision,
        stage,
    )
    facts = {"examples_fingerprint": _fingerprint(pairs), "reference": start.fingerprint}
    return fit(
        trainer,
        settings,
        stage,
        TrainedOn(model, len(trained), cut, facts),
        meter=StageMetrics(_METRICS.get, lambda step, state: schedule.tokens_after(step)),
        work=work,
    )


def tokenized(tokenizer: Any, pairs: Sequence[TrainingPair], stage: Stage) -> tuple[list[TokenPair], int]:
    """Return the pairs in tokens, and how many prompts were cut to fit `max_length`."""
    prompts = encode_prompts(tokenizer, [pair.prompt for pair in pairs])
    chosen = encode_answers(tokenizer, [pair.chosen for pair in pairs])
    rejected = encode_answers(tokenizer, [pair.rejected for pair in pairs])
    rows, cut = [], 0
    for number, (prompt, better, worse) in enumerate(zip(prompts, chosen, rejected, strict=True), start=1):
        if better == worse:
            raise UserError(
                f'pair {number}: chosen and rejected are the same ("{pairs[number - 1].chosen[:60]}")',
                hint="leave such pairs out: they say nothing",
            )
        longest = max(len(better), len(worse))
        room = stage.max_length - longest
        if len(prompt) > room:
            if stage.too_long == "error" or room < 1:
                raise UserError(
                    f"pair {number} has {len(prompt)} + {longest} tokens (prompt + longer answer), "
                    f"expected at most {stage.max_length}",
                    hint="raise max_length, shorten the history, or set too_long=cut",
                )
            prompt = cut_middle(prompt, room)
            cut += 1
        rows.append(TokenPair(prompt, better, worse))
    return rows, cut


def _row(pair: TokenPair, chosen_logp: float, rejected_logp: float) -> dict[str, Any]:
    return {
        "prompt_ids": pair.prompt,
        "chosen_ids": pair.chosen,
        "rejected_ids": pair.rejected,
        "ref_chosen_logps": chosen_logp,
        "ref_rejected_logps": rejected_logp,
    }


def _trainer(
    start: Trainable,
    trained: list[dict[str, Any]],
    judged: list[dict[str, Any]],
    schedule: Schedule,
    settings: PreferenceSettings,
    precision: Precision,
    stage: Stage,
) -> Any:
    from datasets import Dataset, load_from_disk
    from trl import DPOConfig, DPOTrainer

    arguments = DPOConfig(
        **common_arguments(settings, precision, stage, steps=schedule.steps, evaluates=bool(judged)),
        beta=settings.beta,
        loss_type=[settings.loss_type],
        label_smoothing=settings.label_smoothing,
        max_length=None,
        train_sampling_strategy="sequential",
        precompute_ref_log_probs=True,
    )
    # TRL tokenises what it is built with and passes it through the reference; it trains on what
    # `train_dataset` holds. So it is built with one pair of one letter, and handed our rows. The pair lies
    # on disk because TRL files its log-probabilities beside it, for all processes.
    folder = stage.run.checkpoints(stage.name) / "letters"
    letters = Dataset.from_list([{"prompt": "a", "chosen": " b", "rejected": " c"}])
    with quietly():
        from_first(lambda: folder.is_dir() or letters.save_to_disk(str(folder)))
        letters = load_from_disk(str(folder))
        with adapter_in_float32(start.network):
            trainer = DPOTrainer(
                start.network,
                args=arguments,
                train_dataset=letters,
                eval_dataset=letters if judged else None,
                processing_class=start.tokenizer,
                peft_config=start.adapter,
            )
    trainer.train_dataset = Dataset.from_list(trained)
    if judged:
        trainer.eval_dataset = Dataset.from_list(judged)
    return trainer


def _fingerprint(pairs: Sequence[TrainingPair]) -> str:
    digest = hashlib.sha256()
    for pair in pairs:
        for text in (pair.prompt, pair.chosen, pair.rejected):
            digest.update(f"{len(text)}\0{text}\0".encode())
    return digest.hexdigest()
