"""Direct preference optimization (arXiv 2305.18290) with TRL's unmodified DPOTrainer.

Three things happen before it. Texts are tokenized as at inference; TRL tokenizes prompt and answer as one
text, where tokens may merge across the boundary. The log-probabilities of the reference model are computed
and cached (`reference`), so that no second model is in memory, and TRL does not reload the reference from the
path in its configuration, which may hold other weights than those in memory. The order of pairs is fixed
(`schedule`).
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
    StageResult,
    TrainingSource,
    common_arguments,
    fit,
    plan_stage_memory,
    record_precision,
    silenced_trl,
    stage_result,
)
from personakit.training.four_bit import adapter_in_float32
from personakit.training.precision import Precision
from personakit.training.processes import from_main_process
from personakit.training.progress import report_stage
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
    """A preferred and a rejected answer to one prompt."""

    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class TokenPair:
    """A tokenized pair; the answers end with the end-of-sequence token."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def tokens(self) -> int:
        """Tokens of both rows: prompt and chosen, prompt and rejected."""
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)


def train_dpo(
    model: str,
    pairs: Sequence[TrainingPair],
    settings: PreferenceSettings,
    stage: Stage,
    *,
    evaluation: Sequence[TrainingPair] = (),
) -> StageResult:
    """Train `model` to prefer `chosen` to `rejected`; save the result in the stage's output folder.

    The reference model is the initial `model`: a folder with weights or an adapter, a model on the Hugging
    Face Hub, or `nano`. Resuming works as in `supervised.finetune`. Loss and accuracy on `evaluation` are
    logged every `eval_steps`. Raises `UserError` for invalid settings or pairs.
    """
    done = stage_result(stage)
    if done is not None:
        return done
    if not pairs:
        raise UserError(f'stage "{stage.name}" has no preference pairs', hint="check the filters")
    check_stage(settings, stage, evaluates=bool(evaluation))
    silence_libraries()
    precision = record_precision(stage)
    start = load_trainable(model, stage.lora, precision)
    trained, cut = tokenize_pairs(start.tokenizer, pairs, stage)
    evaluated_rows, _ = tokenize_pairs(start.tokenizer, evaluation, stage)
    schedule = make_schedule(
        [pair.tokens for pair in trained],
        batch_size=train_batch_size(settings),
        seed=stage.run.seed,
        epochs=settings.num_train_epochs,
        max_steps=settings.max_steps,
        max_tokens=stage.max_tokens,
        group_by_length=stage.group_by_length,
        whole_batches=True,  # the loss is a mean over the batch: pairs in a short one would weigh more
    )
    with report_stage(
        stage.progress, f"{stage.name}: reference", 2 * len(trained + evaluated_rows)
    ) as reporter:
        logps = reference_logps(
            start.network,
            [
                TokenRow(p.prompt, answer)
                for p in trained + evaluated_rows
                for answer in (p.chosen, p.rejected)
            ],
            fingerprint=start.fingerprint,
            precision=precision,
            pad_id=start.tokenizer.pad_token_id or 0,
            on_progress=lambda made, _: reporter.update(made),
        )
    work = plan_stage_memory(
        start,
        settings,
        precision,
        stage,
        rows=2 * settings.per_device_train_batch_size,
        prompt=max(len(pair.prompt) for pair in trained),
        answer=max(len(answer) for pair in trained for answer in (pair.chosen, pair.rejected)),
        sharing=2,
    )
    rows = [
        _row(pair, *logps[2 * place : 2 * place + 2]) for place, pair in enumerate(trained + evaluated_rows)
    ]
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
        TrainingSource(model, len(trained), cut, facts),
        meter=StageMetrics(_METRICS.get, lambda step, state: schedule.tokens_after(step)),
        work=work,
    )


def tokenize_pairs(
    tokenizer: Any, pairs: Sequence[TrainingPair], stage: Stage
) -> tuple[list[TokenPair], int]:
    """Return the tokenized pairs, and the number of prompts cut to fit `max_length`."""
    prompts = encode_prompts(tokenizer, [pair.prompt for pair in pairs])
    chosen = encode_answers(tokenizer, [pair.chosen for pair in pairs])
    rejected = encode_answers(tokenizer, [pair.rejected for pair in pairs])
    rows, cut = [], 0
    for number, (prompt, better, worse) in enumerate(zip(prompts, chosen, rejected, strict=True), start=1):
        if better == worse:
            raise UserError(
                f'pair {number}: chosen and rejected are the same ("{pairs[number - 1].chosen[:60]}")',
                hint="remove such pairs: they express no preference",
            )
        longest = max(len(better), len(worse))
        max_prompt = stage.max_length - longest
        if len(prompt) > max_prompt:
            if stage.too_long == "error" or max_prompt < 1:
                raise UserError(
                    f"pair {number} has {len(prompt)} + {longest} tokens (prompt + longer answer), "
                    f"expected at most {stage.max_length}",
                    hint="raise max_length, shorten the history, or set too_long=cut",
                )
            prompt = cut_middle(prompt, max_prompt)
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
    evaluated_rows: list[dict[str, Any]],
    schedule: Schedule,
    settings: PreferenceSettings,
    precision: Precision,
    stage: Stage,
) -> Any:
    from datasets import Dataset, load_from_disk
    from trl import DPOConfig, DPOTrainer

    arguments = DPOConfig(
        **common_arguments(settings, precision, stage, steps=schedule.steps, evaluates=bool(evaluated_rows)),
        beta=settings.beta,
        loss_type=[settings.loss_type],
        label_smoothing=settings.label_smoothing,
        max_length=None,
        train_sampling_strategy="sequential",
        precompute_ref_log_probs=True,
    )
    # TRL tokenizes the dataset it is created with and runs the reference on it, but trains on
    # `train_dataset`. So it is created with one dummy pair, and gets our rows afterwards. The pair is on disk
    # because TRL saves its log-probabilities next to it, for all processes.
    folder = stage.run.checkpoints(stage.name) / "letters"
    dummy = Dataset.from_list([{"prompt": "a", "chosen": " b", "rejected": " c"}])
    with silenced_trl():
        from_main_process(lambda: folder.is_dir() or dummy.save_to_disk(str(folder)))
        dummy = load_from_disk(str(folder))
        with adapter_in_float32(start.network):
            trainer = DPOTrainer(
                start.network,
                args=arguments,
                train_dataset=dummy,
                eval_dataset=dummy if evaluated_rows else None,
                processing_class=start.tokenizer,
                peft_config=start.adapter,
            )
    trainer.train_dataset = Dataset.from_list(trained)
    if evaluated_rows:
        trainer.eval_dataset = Dataset.from_list(evaluated_rows)
    return trainer


def _fingerprint(pairs: Sequence[TrainingPair]) -> str:
    digest = hashlib.sha256()
    for pair in pairs:
        for text in (pair.prompt, pair.chosen, pair.rejected):
            digest.update(f"{len(text)}\0{text}\0".encode())
    return digest.hexdigest()
