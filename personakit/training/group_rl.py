"""Reinforcement learning on groups of completions: GRPO (arXiv 2402.03300) or RLOO (2402.14740) over TRL.

The trainer is unmodified; rewards, prompts and their order are handed to it. G completions of a prompt
form a group whose members are each other's baseline, so a group is never torn: a device holds whole groups
at a time, and several forward passes added up before one step each roll out groups of their own. Prompts of
one generation batch have like lengths (`schedule`). Logs, evaluations and checkpoints fall between
generations: what is resumed has no half-used rollouts, and goes on bit for bit (vLLM, which draws its own
random numbers, excepted).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from personakit.errors import UserError
from personakit.models.environment import silence_libraries
from personakit.models.fingerprint import fingerprint_folder
from personakit.models.tokens import encode_prompts
from personakit.training.fitting import (
    Finetuned,
    StageMetrics,
    common_arguments,
    decide_and_record,
    fit,
    plan,
    quietly,
    stage_result,
)
from personakit.training.four_bit import adapter_in_float32
from personakit.training.group_batches import GroupBatches
from personakit.training.precision import Precision
from personakit.training.processes import process_count
from personakit.training.progress import Progress
from personakit.training.rollouts import Prompt, RewardDesk, RewardFunction, RolloutLog
from personakit.training.run import Run
from personakit.training.schedule import make_schedule
from personakit.training.settings import StageSettings, check_settings
from personakit.training.vllm import Vllm, require_vllm, vllm_arguments
from personakit.training.weights import (
    Trainable,
    is_adapted,
    load_trainable,
    save_start,
    set_reference_adapter,
)

__all__ = ["GroupRLSettings", "Prompt", "RewardFunction", "train"]

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


@dataclass(frozen=True, slots=True)
class GroupRLSettings(StageSettings):
    """How to train on rewards. PrLM (a neighbouring public recipe): lr 1e-6 cosine, 4 generations,
    temperature 0.7, LoRA of rank 16."""

    algorithm: Literal["grpo", "rloo"] = "grpo"
    learning_rate: float = 1e-6
    """TRL's default, and PrLM's; LoRA wants about ten times as much, the built-in model 1e-5 to 1e-4."""
    batch_size: int = 32
    """Completions per optimizer step, over all devices together; a multiple of `num_generations`."""
    num_generations: int = 8
    """G, completions of one prompt. TRL's default; PrLM and AlignXplore: 4."""
    max_completion_length: int = 256
    """Tokens; longer completions are cut off there."""
    max_length: int = 1024
    """Longest prompt, in tokens, and completion together. Longer prompts are refused."""
    temperature: float = 1.0
    """Of sampling. TRL's default, AlignXplore's; PrLM: 0.7."""
    top_p: float = 1.0
    beta: float = 0.0
    """Weight of the KL divergence from the reference, which is the model the stage begins with. 0, GRPO's
    default in TRL, needs no reference; RLOO's there is 0.05; PLUS: 0.01."""
    loss_type: str = "dapo"
    """GRPO's normalisation, by TRL's names: dapo (TRL's default), grpo (the paper's), dr_grpo, bnpo, ..."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """GRPO: what advantages are divided by: the group's standard deviation (the paper's, TRL's default),
    the batch's, or nothing (Dr. GRPO)."""
    epsilon: float = 0.2
    """Clipping of the probability ratio. TRL's default, PPO's."""
    num_iterations: int = 1
    """Times a generation is trained on (mu in the paper)."""
    steps_per_generation: int = 1
    """Optimizer steps that share a generation: more is faster and less on-policy."""
    mask_truncated: bool = False
    """Leave completions that were cut off out of the loss."""
    log_every: int = 1
    checkpoint_every: int = 50
    log_prompts: int = 1
    """Prompts whose completions go into rollouts.jsonl at a logging step; 0: none."""
    vllm: Vllm = field(default_factory=Vllm)


def train(
    model: str,
    prompts: Sequence[Prompt],
    rewards: Sequence[RewardFunction],
    settings: GroupRLSettings,
    run: Run,
    stage: str,
    *,
    evaluation: Sequence[Prompt] = (),
    reference: str | None = None,
    progress: Progress | None = None,
    output: str = "model",
) -> Finetuned:
    """Train `model` to earn more reward on `prompts`; leave the result in `run.folder/output`.

    `epochs` and `max_steps` are rounded up to whole generations, and bound where both are given by
    `max_steps`. The reference is `model` as it is now, or the folder `reference`, which holds the same kind
    of weights (all of them, or an adapter of the same rank): so several stages in a row keep one reference,
    and name it as what they are tuned from.
    Resumes, and passes over a stage that is done, as `supervised.finetune`. Rewards on `evaluation` are
    logged now and then. Raises `UserError` for settings and prompts that cannot be trained on.
    """
    done = stage_result(run, stage)
    if done is not None:
        return done
    if not prompts or not rewards:
        raise UserError(
            f'stage "{stage}" has no {"prompts" if not prompts else "rewards"}', hint="give it at least one"
        )
    check_settings(settings, evaluates=bool(evaluation))
    batches = GroupBatches.plan(settings, len(prompts), process_count())
    silence_libraries()
    require_vllm(settings.vllm, four_bit=settings.four_bit)
    precision = decide_and_record(settings, run)
    start = load_trainable(model, settings, precision)
    every = [*prompts, *evaluation]
    lengths = _checked_lengths(start.tokenizer, every, settings)
    log = RolloutLog(
        run.folder / "rollouts.jsonl",
        stage,
        every=batches.rounded_up(min(settings.log_every, batches.steps)),
        prompts=settings.log_prompts,
        group=settings.num_generations,
        writes=run.writes,
    )
    desk = RewardDesk(rewards, every, start.tokenizer, log)
    order = make_schedule(
        lengths[: len(prompts)],
        batch_size=batches.prompts_per_generation,
        seed=run.seed,
        epochs=1,
        max_steps=batches.generations,
        group_by_length=settings.group_by_length,
    ).order
    if settings.beta and reference is not None and settings.lora_rank == 0:
        start.network.config._name_or_path = reference  # where TRL loads its reference model from
    elif settings.beta and start.merged:
        save_start(start.network, start.tokenizer, run, stage)
    decoded = settings.rows_at_a_time * batches.passes_per_generation
    work = plan(
        start,
        settings,
        precision,
        run,
        stage,
        rows=settings.rows_at_a_time,
        prompt=max(lengths),
        answer=settings.max_completion_length,
        sharing=settings.num_generations if batches.passes_per_generation == 1 else 1,
        reference=bool(settings.beta) and settings.lora_rank == 0,
        decoded_rows=decoded if settings.vllm.mode == "off" else 0,
    )
    evaluated = range(len(prompts), len(every))
    trainer = _trainer(
        start, every, order, evaluated, desk, rewards, batches, settings, precision, run, stage
    )
    if settings.beta and reference is not None and is_adapted(start.network):
        set_reference_adapter(trainer.model, reference)
    log.training = lambda: bool(trainer.model.training)
    return fit(
        trainer,
        start.tokenizer,
        settings,
        run,
        stage,
        base=reference or model,
        output=output,
        meter=StageMetrics(
            lambda name: _renamed(name, desk.metrics), lambda step, state: int(state.num_input_tokens_seen)
        ),
        work=work,
        examples=len(prompts),
        cut=0,
        facts={
            "examples_fingerprint": _fingerprint(prompts),
            "reference": start.fingerprint if reference is None else fingerprint_folder(Path(reference)),
        },
        progress=progress,
        on_resume=log.rewind,
    )


def group_arguments(
    rewards: Sequence[RewardFunction],
    batches: GroupBatches,
    settings: GroupRLSettings,
    precision: Precision,
    run: Run,
    stage: str,
    *,
    evaluates: bool = False,
) -> Any:
    """Return TRL's GRPOConfig, or RLOOConfig."""
    from trl import GRPOConfig, RLOOConfig

    arguments = common_arguments(
        settings, precision, run, stage, steps=batches.steps, block=batches.block, evaluates=evaluates
    )
    arguments |= {
        "num_generations": settings.num_generations,
        "max_completion_length": settings.max_completion_length,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "beta": settings.beta,
        "epsilon": settings.epsilon,
        "num_iterations": settings.num_iterations,
        "steps_per_generation": batches.passes_per_generation,
        "mask_truncated_completions": settings.mask_truncated,
        "reward_weights": [reward.weight for reward in rewards],
        "shuffle_dataset": False,  # the order is ours
        "remove_unused_columns": False,
        "chat_template_kwargs": {"enable_thinking": False},  # as `models.tokens.encode_prompts`
        **vllm_arguments(settings.vllm),
    }
    if settings.algorithm == "rloo":
        return RLOOConfig(**arguments)
    return GRPOConfig(**arguments, loss_type=settings.loss_type, scale_rewards=settings.scale_rewards)


def _trainer(
    start: Trainable,
    prompts: Sequence[Prompt],
    order: Sequence[int],
    evaluated: Sequence[int],
    desk: RewardDesk,
    rewards: Sequence[RewardFunction],
    batches: GroupBatches,
    settings: GroupRLSettings,
    precision: Precision,
    run: Run,
    stage: str,
) -> Any:
    from datasets import Dataset
    from trl import GRPOTrainer, RLOOTrainer

    chat = bool(getattr(start.tokenizer, "chat_template", None))

    def rows(places: Sequence[int]) -> Any:
        texts = [prompts[place].text for place in places]
        shown = [[{"role": "user", "content": text}] for text in texts] if chat else texts
        return Dataset.from_dict({"prompt": shown, "row": list(places)})

    kind = RLOOTrainer if settings.algorithm == "rloo" else GRPOTrainer
    with quietly(), adapter_in_float32(start.network):
        return kind(
            model=start.network,
            reward_funcs=desk.functions(),
            args=group_arguments(
                rewards, batches, settings, precision, run, stage, evaluates=bool(evaluated)
            ),
            train_dataset=rows(order),
            eval_dataset=rows(evaluated) if evaluated else None,
            processing_class=start.tokenizer,
            peft_config=start.adapter,
        )


def _checked_lengths(tokenizer: Any, prompts: Sequence[Prompt], settings: GroupRLSettings) -> list[int]:
    """Return each prompt's number of tokens, and see that TRL will make the same tokens of it as we do."""
    texts = [prompt.text for prompt in prompts]
    ids = encode_prompts(tokenizer, texts)
    if not getattr(tokenizer, "chat_template", None):
        theirs = tokenizer(text=texts)["input_ids"]
        for number, (ours, other) in enumerate(zip(ids, theirs, strict=True), start=1):
            if ours != list(other):
                raise UserError(
                    f"prompt {number}: the tokenizer closes every text with its end of sequence",
                    hint="use a tokenizer that does not (add_eos_token=False), or one with a chat template",
                )
    room = settings.max_length - settings.max_completion_length
    for number, row in enumerate(ids, start=1):
        if len(row) > room:
            raise UserError(
                f"prompt {number} has {len(row)} tokens, expected at most {room} (max_length "
                f"{settings.max_length} less max_completion_length {settings.max_completion_length})",
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
