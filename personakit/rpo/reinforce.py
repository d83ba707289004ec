"""RPO's second training stage: GRPO on rewrites, in the stages of the curriculum, from the model SFT left.

Each stage of the curriculum is a stage of the run (`rl-1`, `rl-2`, ...; `rl` where there is one only) that
goes on from the weights of the one before, and is killed and resumed by itself. The reference of the KL
divergence stays the model that SFT left. A stage meets queries that no stage before it has met, until all
have had their turn.
"""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle, islice
from pathlib import Path

from personakit.config import TrainRPO
from personakit.errors import UserError
from personakit.rpo.curriculum import ContextStage
from personakit.rpo.dataset import Drafted
from personakit.rpo.rewards import TASK, rewards
from personakit.rpo.rl_prompts import PromptMaker, open_tokenizer, rewrite_tokens
from personakit.training.early_stop import EarlyStop, Target
from personakit.training.fitting import Finetuned
from personakit.training.group_batches import GroupBatches
from personakit.training.group_rl import GroupRLSettings, train
from personakit.training.processes import process_count
from personakit.training.progress import Progress
from personakit.training.run import Run
from personakit.training.settings import check_settings
from personakit.training.vllm import Vllm, require_vllm


@dataclass(frozen=True, slots=True)
class Reinforced:
    """What RL left behind."""

    result: Finetuned
    """Steps and tokens are those of all stages together."""
    stage_steps: tuple[int, ...]
    """Optimizer steps that each stage of the curriculum made."""


def reinforce(
    config: TrainRPO,
    drafted: Sequence[Drafted],
    start: Path,
    stages: Sequence[ContextStage],
    run: Run,
    name: str,
    *,
    count_tokens: Callable[[str], int],
    held_out: Sequence[Drafted] = (),
    stage_steps: Sequence[int] | None = None,
    progress: Progress,
    output: str = "model",
) -> Reinforced:
    """Train the model in `start` on rewards, stage by stage, and leave the result in `run.folder/output`.

    The steps are `config.rl`'s, shared out among the stages; with `stage_steps`, a control's, each stage
    makes exactly as many. Rewards on `held_out`, shown as at test, are logged now and then. Raises
    `UserError` where there is no prompt to train on.
    """
    maker = PromptMaker(config, open_tokenizer(start), count_tokens)
    queries = [each for each in drafted if not each.context.empty]
    random.Random(f"{config.seed}/rl").shuffle(queries)
    if not queries:
        raise UserError(
            f"none of {len(drafted)} training queries has a history, which RL needs",
            hint="train with stages=sft, or give data with profiles",
        )
    # As at test, where a user without history is given the draft.
    evaluation = maker.make([each for each in held_out if not each.context.empty], stages[-1], hide=False)
    maker.counts.clear()  # they count what is trained on
    settings = _settings(config, exact=stage_steps is not None)
    prompts_per_step = settings.batch_size // settings.num_generations
    left = sum(stage_steps) if stage_steps else _steps(config, len(queries), prompts_per_step)
    model, met = start, 0
    done: list[Finetuned] = []
    made: list[int] = []
    for number, stage in enumerate(stages):
        steps = stage_steps[number] if stage_steps else left // (len(stages) - number)
        if steps == 0:  # there are fewer steps than stages: the last ones have them
            made.append(0)
            continue
        title = name if len(stages) == 1 else f"{name}-{number + 1}"
        prompts = maker.make(_turn(queries, met, steps * prompts_per_step), stage)
        if not prompts:
            raise UserError(
                f"no prompt of stage {title} fits into {maker.room} tokens (sft.max_length "
                f"{config.sft.max_length} less {rewrite_tokens(config)} of a rewrite)",
                hint="raise sft.max_length, or lower prompt_tokens or rl.max_tokens",
            )
        target = None if stage_steps else _target(config, stage)
        last = number == len(stages) - 1
        tuned = train(
            str(model),
            prompts,
            rewards(config.rl.format_weight),
            replace(settings, max_steps=steps, target=target),
            run,
            title,
            evaluation=evaluation,
            reference=str(start),
            progress=progress,
            output=output if last else str(Path("checkpoints") / f"after-{title}"),
        )
        if model != start and run.writes:
            shutil.rmtree(model, ignore_errors=True)  # its weights have gone on
        model, met, left = tuned.model, met + tuned.steps * prompts_per_step, left - tuned.steps
        done.append(tuned)
        made.append(tuned.steps)
    run.record(rl_prompts=dict(run.facts.get("rl_prompts", {})) | {name: dict(maker.counts)})
    steps, tokens = sum(made), sum(each.tokens for each in done)
    return Reinforced(replace(done[-1], steps=steps, tokens=tokens), tuple(made))


def check_rl(config: TrainRPO) -> None:
    """Raise `UserError` where a batch or the lengths cannot be trained with; nothing is loaded for it."""
    room = config.sft.max_length - rewrite_tokens(config)
    if room < 1:
        raise UserError(
            f"a rewrite has up to {rewrite_tokens(config)} tokens in RL, and sft.max_length is "
            f"{config.sft.max_length} for prompt and rewrite together",
            hint="raise sft.max_length, or lower rl.max_tokens",
        )
    settings = _settings(config, exact=False)
    check_settings(settings, evaluates=config.data.held_out > 0)
    GroupBatches.plan(settings, 1, process_count())
    require_vllm(settings.vllm, four_bit=settings.four_bit)


def _steps(config: TrainRPO, queries: int, prompts_per_step: int) -> int:
    return config.rl.steps or max(1, math.ceil(round(config.rl.epochs * queries / prompts_per_step, 6)))


def _turn(queries: Sequence[Drafted], met: int, count: int) -> list[Drafted]:
    """The next `count` queries after `met` of them, around the end to the first; none twice."""
    return list(islice(cycle(queries), met % len(queries), met % len(queries) + min(count, len(queries))))


def _target(config: TrainRPO, stage: ContextStage) -> Target | None:
    if stage.until_reward is None:
        return None
    return Target(stage.until_reward, f"reward/{TASK}", config.rl.curriculum.reward_window)


def _settings(config: TrainRPO, *, exact: bool) -> GroupRLSettings:
    """`exact`: no early stop, since a control makes the method's steps."""
    rl, lora = config.rl, config.lora
    rows = rl.batch_size * rl.generations
    return GroupRLSettings(
        algorithm=rl.algorithm,
        scale_rewards=rl.scale_rewards,
        loss_type=rl.loss_type,
        learning_rate=rl.learning_rate,
        lr_schedule=rl.schedule,
        warmup_ratio=rl.warmup_share,
        weight_decay=rl.weight_decay,
        group_by_length=False,  # prompts of like lengths are mostly of one task: a step would pull to that
        batch_size=rows * rl.accumulation * process_count(),
        micro_batch_size=rows,
        num_generations=rl.generations,
        max_completion_length=rewrite_tokens(config),
        max_length=config.sft.max_length,
        temperature=rl.temperature,
        beta=rl.beta,
        lora_rank=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        lora_targets=lora.targets,
        four_bit=lora.four_bit,
        gradient_checkpointing=rl.gradient_checkpointing,
        shared_prefix=rl.shared_prefix,
        checkpoint_every=rl.checkpoint_every,
        early_stop=EarlyStop(**asdict(rl.early_stop)) if rl.early_stop.metric and not exact else None,
        vllm=Vllm(rl.vllm, server_url=rl.vllm_url),
    )
