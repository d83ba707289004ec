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
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

from personakit.config import TrainRPO
from personakit.config.training import without_early_stopping
from personakit.errors import UserError
from personakit.rpo.curriculum import ContextStage
from personakit.rpo.dataset import Drafted
from personakit.rpo.rewards import TASK, rewards
from personakit.rpo.rl_prompts import PromptMaker, open_tokenizer, rewrite_tokens
from personakit.training.early_stop import Target
from personakit.training.fitting import StageResult
from personakit.training.group_batches import GroupBatches
from personakit.training.group_rl import train
from personakit.training.processes import process_count
from personakit.training.stage import Stage, check_stopping, train_batch_size
from personakit.training.vllm import require_vllm


@dataclass(frozen=True, slots=True)
class Reinforced:
    """What RL left behind."""

    result: StageResult
    """Steps and tokens are those of all stages together."""
    stage_steps: tuple[int, ...]
    """Optimizer steps that each stage of the curriculum made."""


def reinforce(
    config: TrainRPO,
    drafted: Sequence[Drafted],
    start: Path,
    curriculum: Sequence[ContextStage],
    whole: Stage,
    *,
    count_tokens: Callable[[str], int],
    held_out: Sequence[Drafted] = (),
    stage_steps: Sequence[int] | None = None,
) -> Reinforced:
    """Train the model in `start` on rewards, stage by stage, and leave the result in `whole`'s output folder.

    The steps are `config.rl`'s, shared out among the stages; with `stage_steps`, a control's, each stage
    makes exactly as many. Rewards on `held_out`, shown as at test, are logged every `eval_steps`. Raises
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
    evaluation = maker.make([each for each in held_out if not each.context.empty], curriculum[-1], hide=False)
    maker.counts.clear()  # they count what is trained on
    # A control makes exactly the method's steps.
    settings = without_early_stopping(config.rl) if stage_steps else config.rl
    prompts_per_step = train_batch_size(settings) // settings.num_generations
    run, name = whole.run, whole.name
    left = sum(stage_steps) if stage_steps else _steps(config, len(queries), prompts_per_step)
    model, met = start, 0
    done: list[StageResult] = []
    made: list[int] = []
    for number, shown in enumerate(curriculum):
        steps = stage_steps[number] if stage_steps else left // (len(curriculum) - number)
        if steps == 0:  # there are fewer steps than stages: the last ones have them
            made.append(0)
            continue
        title = name if len(curriculum) == 1 else f"{name}-{number + 1}"
        prompts = maker.make(_turn(queries, met, steps * prompts_per_step), shown)
        if not prompts:
            raise UserError(
                f"no prompt of stage {title} fits into {maker.room} tokens (sft.max_length "
                f"{config.sft.max_length} less {rewrite_tokens(config)} of a rewrite)",
                hint="raise sft.max_length, or lower prompt_tokens or rl.max_completion_length",
            )
        stage = replace(
            whole,
            name=title,
            output=whole.output
            if number == len(curriculum) - 1
            else str(Path("checkpoints") / f"after-{title}"),
            target=None if stage_steps else _target(config, shown),
            too_long="error",
            group_by_length=False,  # prompts of similar length are mostly of one task
        )
        tuned = train(
            str(model),
            prompts,
            rewards(config.rl.format_weight),
            replace(settings, max_steps=steps),
            stage,
            max_completion_length=rewrite_tokens(config),
            evaluation=evaluation,
            reference=str(start),
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
            hint="raise sft.max_length, or lower rl.max_completion_length",
        )
    check_stopping(config.rl, "rl", evaluates=config.data.held_out > 0)
    GroupBatches.plan(config.rl, 1, process_count())
    require_vllm(config.rl, load_in_4bit=config.lora.load_in_4bit)


def _steps(config: TrainRPO, queries: int, prompts_per_step: int) -> int:
    epochs = config.rl.num_train_epochs
    return config.rl.max_steps or max(1, math.ceil(round(epochs * queries / prompts_per_step, 6)))


def _turn(queries: Sequence[Drafted], met: int, count: int) -> list[Drafted]:
    """The next `count` queries after `met` of them, around the end to the first; none twice."""
    return list(islice(cycle(queries), met % len(queries), met % len(queries) + min(count, len(queries))))


def _target(config: TrainRPO, stage: ContextStage) -> Target | None:
    if stage.until_reward is None:
        return None
    return Target(stage.until_reward, f"reward/{TASK}", config.rl.curriculum.reward_window)
