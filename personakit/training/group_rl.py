"""Reinforcement learning on groups of completions with TRL: GRPO (arXiv 2402.03300) or RLOO (2402.14740).

The trainer is unmodified and gets the rewards, the prompts and their order. The completions of a prompt form
a group, whose rewards give the baseline, so a group is never split: each device has whole groups in every
pass. Prompts of one generation batch have similar lengths (`schedule`). Logs, evaluations and checkpoints
happen between generations, so a resumed stage continues bit-identically (except with vLLM, which has its own
random state).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from personakit.config.training import GroupRLSettings
from personakit.errors import UserError
from personakit.models.environment import silence_libraries
from personakit.models.fingerprint import fingerprint_folder
from personakit.models.tokens import encode_prompts
from personakit.models.turns import TEMPLATE_OPTIONS
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
from personakit.training.group_batches import GroupBatches
from personakit.training.precision import Precision
from personakit.training.processes import process_count
from personakit.training.rollouts import Prompt, RewardDispatcher, RewardFunction, RolloutLog
from personakit.training.schedule import make_schedule
from personakit.training.stage import Stage, StageMetrics, check_stage
from personakit.training.vllm import require_vllm, vllm_arguments
from personakit.training.weights import (
    Trainable,
    is_adapted,
    load_trainable,
    save_initial_weights,
    set_reference_adapter,
)

__all__ = ["Prompt", "RewardFunction", "train"]

_METRICS = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "reward": "reward",
    "reward_std": "reward_std",
    "kl": "kl",
    "entropy": "entropy",
    "completions/mean_length": "completion_length",
    "completions/clipped_ratio": "completions_clipped",
    "frac_reward_zero_std": "groups_without_spread",
    "clip_ratio/region_mean": "ratio_clipped",
    "step_time": "step_seconds",
}


def train(
    model: str,
    prompts: Sequence[Prompt],
    rewards: Sequence[RewardFunction],
    settings: GroupRLSettings,
    stage: Stage,
    *,
    max_completion_length: int,
    evaluation: Sequence[Prompt] = (),
    reference: str | None = None,
) -> StageResult:
    """Train `model` to maximize the rewards on `prompts`; save the result in the stage's output folder.

    Completions are cut after `max_completion_length` tokens. `num_train_epochs` and `max_steps` are rounded
    up to whole generations; `max_steps` takes precedence. The reference model of the KL penalty is the
    initial `model`, or the folder `reference` with weights of the same kind (all weights, or an adapter of
    the same rank): consecutive stages can share one reference, which the model card names as the base.
    Resuming works as in `supervised.finetune`. Rewards on `evaluation` are logged every `eval_steps`. Raises
    `UserError` for invalid settings or prompts.
    """
    run = stage.run
    done = stage_result(stage)
    if done is not None:
        return done
    if not prompts or not rewards:
        raise UserError(
            f'stage "{stage.name}" has no {"prompts" if not prompts else "rewards"}',
            hint="give it at least one",
        )
    check_stage(settings, stage, evaluates=bool(evaluation))
    if stage.max_tokens is not None:
        raise UserError(
            "max_tokens is set, but the length of completions is not known in advance",
            hint="limit the stage with max_steps or num_train_epochs",
        )
    if stage.too_long != "error":
        raise UserError(
            'too_long is "cut", but prompts of rollouts are not cut', hint="cut the prompts before training"
        )
    batches = GroupBatches.plan(settings, len(prompts), process_count())
    silence_libraries()
    require_vllm(settings, load_in_4bit=stage.lora.load_in_4bit)
    precision = record_precision(stage)
    start = load_trainable(model, stage.lora, precision)
    every = [*prompts, *evaluation]
    lengths = _checked_lengths(start.tokenizer, every, stage.max_length, max_completion_length)
    log = RolloutLog(
        run.folder / "rollouts.jsonl",
        stage.name,
        every=batches.rounded_up(min(settings.logging_steps, batches.steps)),
        prompts=settings.log_prompts,
        group=settings.num_generations,
        writes=run.writes,
    )
    dispatcher = RewardDispatcher(rewards, every, start.tokenizer, log)
    order = make_schedule(
        lengths[: len(prompts)],
        batch_size=batches.prompts_per_generation,
        seed=run.seed,
        epochs=1,
        max_steps=batches.generations,
        group_by_length=stage.group_by_length,
    ).order
    if settings.beta and reference is not None and stage.lora.r == 0:
        start.network.config._name_or_path = reference  # TRL loads its reference model from this path
    elif settings.beta and start.merged:
        save_initial_weights(start, stage)
    rows = settings.per_device_train_batch_size
    work = plan_stage_memory(
        start,
        settings,
        precision,
        stage,
        rows=rows,
        prompt=max(lengths),
        answer=max_completion_length,
        sharing=settings.num_generations if batches.passes_per_generation == 1 else 1,
        reference=bool(settings.beta) and stage.lora.r == 0,
        decoded_rows=rows * batches.passes_per_generation if settings.vllm_mode == "off" else 0,
    )
    evaluated = range(len(prompts), len(every))
    arguments = group_arguments(
        rewards, batches, settings, precision, stage, max_completion_length, evaluates=bool(evaluated)
    )
    trainer = _trainer(start, every, order, evaluated, dispatcher, arguments)
    if settings.beta and reference is not None and is_adapted(start.network):
        set_reference_adapter(trainer.model, reference)
    log.training = lambda: bool(trainer.model.training)
    facts = {
        "examples_fingerprint": _fingerprint(prompts),
        "reference": start.fingerprint if reference is None else fingerprint_folder(Path(reference)),
    }
    return fit(
        trainer,
        settings,
        stage,
        TrainingSource(reference or model, len(prompts), 0, facts),
        meter=StageMetrics(
            lambda name: _renamed(name, dispatcher.metrics),
            lambda step, state: int(state.num_input_tokens_seen),
        ),
        work=work,
        on_resume=log.rewind,
    )


def group_arguments(
    rewards: Sequence[RewardFunction],
    batches: GroupBatches,
    settings: GroupRLSettings,
    precision: Precision,
    stage: Stage,
    max_completion_length: int,
    *,
    evaluates: bool = False,
) -> Any:
    """Return TRL's GRPOConfig, or RLOOConfig."""
    from trl import GRPOConfig, RLOOConfig

    arguments = common_arguments(
        settings, precision, stage, steps=batches.steps, block=batches.block, evaluates=evaluates
    )
    arguments |= {
        "num_generations": settings.num_generations,
        "max_completion_length": max_completion_length,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "beta": settings.beta,
        "epsilon": settings.epsilon,
        "num_iterations": settings.num_iterations,
        "steps_per_generation": batches.passes_per_generation,
        "mask_truncated_completions": settings.mask_truncated_completions,
        "reward_weights": [reward.weight for reward in rewards],
        "shuffle_dataset": False,  # the order is fixed by `schedule`
        # Completions are sampled without dropout: with it, their log-probabilities would be another model's.
        "disable_dropout": True,
        "remove_unused_columns": False,
        "chat_template_kwargs": TEMPLATE_OPTIONS,  # as in `models.tokens.encode_prompts`
        **vllm_arguments(settings),
    }
    if settings.algorithm == "rloo":
        return RLOOConfig(**arguments)
    return GRPOConfig(**arguments, loss_type=settings.loss_type, scale_rewards=settings.scale_rewards)


def _trainer(
    start: Trainable,
    prompts: Sequence[Prompt],
    order: Sequence[int],
    evaluated: Sequence[int],
    dispatcher: RewardDispatcher,
    arguments: Any,
) -> Any:
    """Return TRL's GRPO or RLOO trainer, by the type of `arguments`."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer, RLOOTrainer

    chat = bool(getattr(start.tokenizer, "chat_template", None))

    def rows(places: Sequence[int]) -> Any:
        texts = [prompts[place].text for place in places]
        shown = [[{"role": "user", "content": text}] for text in texts] if chat else texts
        return Dataset.from_dict({"prompt": shown, "row": list(places)})

    kind = GRPOTrainer if isinstance(arguments, GRPOConfig) else RLOOTrainer
    with silenced_trl(), adapter_in_float32(start.network):
        return kind(
            model=start.network,
            reward_funcs=dispatcher.functions(),
            args=arguments,
            train_dataset=rows(order),
            eval_dataset=rows(evaluated) if evaluated else None,
            processing_class=start.tokenizer,
            peft_config=start.adapter,
        )


def _checked_lengths(
    tokenizer: Any, prompts: Sequence[Prompt], max_length: int, max_completion_length: int
) -> list[int]:
    """Return each prompt's length in tokens, after checking that TRL will tokenize it identically."""
    texts = [prompt.text for prompt in prompts]
    ids = encode_prompts(tokenizer, texts)
    if not getattr(tokenizer, "chat_template", None):
        theirs = tokenizer(text=texts)["input_ids"]
        for number, (ours, other) in enumerate(zip(ids, theirs, strict=True), start=1):
            if ours != list(other):
                raise UserError(
                    f"prompt {number}: the tokenizer appends its end-of-sequence token to every text",
                    hint="use a tokenizer that does not (add_eos_token=False), or one with a chat template",
                )
    max_prompt = max_length - max_completion_length
    for number, row in enumerate(ids, start=1):
        if len(row) > max_prompt:
            raise UserError(
                f"prompt {number} has {len(row)} tokens, expected at most {max_prompt} (max_length "
                f"{max_length} less max_completion_length {max_completion_length})",
                hint="raise max_length, shorten the history, or lower max_completion_length",
            )
    return [len(row) for row in ids]


def _renamed(name: str, logged: set[str]) -> str | None:
    if name in logged:
        return name
    parts = name.split("/")
    if parts[0] == "rewards" and len(parts) >= 3:
        title = "/".join(parts[1:-1])
        return f"reward/{title}" if parts[-1] == "mean" else f"reward_std/{title}"
    return _METRICS.get(name)


def _fingerprint(prompts: Sequence[Prompt]) -> str:
    digest = hashlib.sha256()
    for prompt in prompts:
        digest.update(f"{len(prompt.text)}\0{prompt.text}\0".encode())
    return digest.hexdigest()
