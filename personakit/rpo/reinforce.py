"""RPO's second training stage: GRPO on rewrites, starting from the SFT model, one curriculum stage at a time.

Each curriculum stage is a stage of the run (`rl-1`, `rl-2`, ...; or `rl` if there is only one). It continues
from the weights of the previous stage, and can be interrupted and resumed separately. The KL reference is
always the SFT model. Stages use disjoint queries until all queries have been used.
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
from personakit.rpo.choices import has_trace
from personakit.rpo.curriculum import ContextStage
from personakit.rpo.dataset import DraftedQuery
from personakit.rpo.rewards import TASK, reward_functions
from personakit.rpo.rl_prompts import RLPromptBuilder, open_tokenizer, rewrite_tokens
from personakit.training.early_stop import Target
from personakit.training.fitting import StageResult
from personakit.training.group_batches import GroupBatches
from personakit.training.group_rl import train
from personakit.training.processes import process_count
from personakit.training.stage import Stage, check_stopping, train_batch_size
from personakit.training.vllm import require_vllm


@dataclass(frozen=True, slots=True)
class RLResult:
    """The result of RL."""

    result: StageResult
    """The final model; steps and tokens are totals over all stages."""
    stage_steps: tuple[int, ...]
    """Optimizer steps of each curriculum stage."""


def reinforce(
    config: TrainRPO,
    drafted: Sequence[DraftedQuery],
    start: Path,
    curriculum: Sequence[ContextStage],
    stage: Stage,
    *,
    count_tokens: Callable[[str], int],
    held_out: Sequence[DraftedQuery] = (),
    stage_steps: Sequence[int] | None = None,
) -> RLResult:
    """Train the model in the folder `start` by RL, stage by stage; save it in `stage`'s output folder.

    The steps of `config.rl` are divided among the stages. A control passes `stage_steps`, the exact number of
    steps of each stage. Rewards on `held_out`, with prompts as at test time, are logged every `eval_steps`.
    Raises `UserError` if there is no prompt to train on.
    """
    builder = RLPromptBuilder(config, open_tokenizer(start), count_tokens)
    queries = [each for each in drafted if not each.context.empty]
    random.Random(f"{config.seed}/rl").shuffle(queries)
    if not queries:
        raise UserError(
            f"none of {len(drafted)} training queries has a history, which RL needs",
            hint="train with stages=sft, or use data with profiles",
        )
    # At test time, users without history get the draft: they are not evaluated here.
    evaluation = builder.build(
        [each for each in held_out if not each.context.empty], curriculum[-1], drop_history=False
    )
    builder.counts.clear()  # count training prompts only
    # A control makes exactly as many steps as the method: no early stopping.
    settings = without_early_stopping(config.rl) if stage_steps else config.rl
    prompts_per_step = train_batch_size(settings) // settings.num_generations
    run, name = stage.run, stage.name
    steps_left = sum(stage_steps) if stage_steps else _steps(config, len(queries), prompts_per_step)
    model, queries_used = start, 0
    results: list[StageResult] = []
    steps_made: list[int] = []
    for number, context_stage in enumerate(curriculum):
        steps = stage_steps[number] if stage_steps else steps_left // (len(curriculum) - number)
        if steps == 0:  # fewer steps than stages: the first stages get none
            steps_made.append(0)
            continue
        stage_name = name if len(curriculum) == 1 else f"{name}-{number + 1}"
        prompts = builder.build(_next_queries(queries, queries_used, steps * prompts_per_step), context_stage)
        if not prompts:
            raise UserError(
                f"no prompt of stage {stage_name} fits into {builder.max_prompt_tokens} tokens "
                f"(sft.max_length {config.sft.max_length} minus {rewrite_tokens(config)} for the rewrite)",
                hint="raise sft.max_length, or lower prompt_tokens or rl.max_completion_length",
            )
        trained = train(
            str(model),
            prompts,
            reward_functions(config.rl.format_weight, traced=has_trace(config)),
            replace(settings, max_steps=steps),
            replace(
                stage,
                name=stage_name,
                output=stage.output
                if number == len(curriculum) - 1
                else str(Path("checkpoints") / f"after-{stage_name}"),
                target=None if stage_steps else _target(config, context_stage),
                too_long="error",
                group_by_length=False,  # prompts of similar length are mostly of one task
            ),
            max_completion_length=rewrite_tokens(config),
            evaluation=evaluation,
            reference=str(start),
        )
        if model != start and run.writes:
            shutil.rmtree(model, ignore_errors=True)  # superseded by this stage's model
        model = trained.model
        queries_used += trained.steps * prompts_per_step
        steps_left -= trained.steps
        results.append(trained)
        steps_made.append(trained.steps)
    run.record(rl_prompts=dict(run.facts.get("rl_prompts", {})) | {name: dict(builder.counts)})
    total = replace(results[-1], steps=sum(steps_made), tokens=sum(each.tokens for each in results))
    return RLResult(total, tuple(steps_made))


def check_rl(config: TrainRPO) -> None:
    """Raise `UserError` for a batch size or lengths that RL cannot use. Loads no model."""
    if config.sft.max_length <= rewrite_tokens(config):
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


def _next_queries(queries: Sequence[DraftedQuery], used: int, count: int) -> list[DraftedQuery]:
    """Return the next `count` queries after the first `used`, cyclically and without repetition."""
    first = used % len(queries)
    return list(islice(cycle(queries), first, first + min(count, len(queries))))


def _target(config: TrainRPO, stage: ContextStage) -> Target | None:
    if stage.until_reward is None:
        return None
    return Target(stage.until_reward, f"reward/{TASK}", config.rl.curriculum.reward_window)
