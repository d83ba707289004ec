"""How prompts, groups of completions, forward passes and optimizer steps fit together, in whole numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from personakit.errors import UserError

if TYPE_CHECKING:
    from personakit.training.group_rl import GroupRLSettings


@dataclass(frozen=True, slots=True)
class GroupBatches:
    """One stage's plan. A *pass* is one forward and backward of every device; a *generation* is one call of
    the generator, whose completions are used in `passes_per_generation` passes, `num_iterations` times.
    """

    prompts_per_generation: int
    """Different prompts rolled out at once, over all devices."""
    passes_per_generation: int
    """TRL's `steps_per_generation`: it counts forward passes, ours counts optimizer steps."""
    generations: int
    block: int
    """Optimizer steps between two moments at which no rollout is half-used."""
    steps: int
    """Optimizer steps of the stage, a multiple of `block`."""

    @classmethod
    def plan(cls, settings: GroupRLSettings, prompts: int, processes: int) -> GroupBatches:
        """Lay out a stage over `prompts` prompts. Raises `UserError` where groups would be torn."""
        group = settings.num_generations
        for name in ("num_iterations", "steps_per_generation", "max_completion_length"):
            if getattr(settings, name) < 1:
                raise UserError(
                    f"{name} is {getattr(settings, name)}, expected at least 1",
                    hint=f"set {name} to 1 or more",
                )
        if group < 2:
            raise UserError(
                f"num_generations is {group}, expected at least 2: completions of a prompt are compared",
                hint="set num_generations to 4 or 8",
            )
        if settings.rows_at_a_time % group:
            raise UserError(
                f"a device holds {settings.rows_at_a_time} completions at a time, expected a multiple of "
                f"num_generations ({group}), so that groups stay whole",
                hint="change micro_batch_size (or batch_size, where that is not set) or num_generations",
            )
        if settings.max_tokens is not None:
            raise UserError(
                "max_tokens is set, and how long completions get is not known beforehand",
                hint="bound the stage by max_steps or epochs",
            )
        if settings.too_long != "error":
            raise UserError(
                'too_long is "cut", and prompts of rollouts are not cut', hint="cut them where they are made"
            )
        accumulation = settings.accumulation
        # Generating anew for every pass keeps the groups of each together; TRL shuffles the rows of a
        # generation that serves several.
        alone = settings.steps_per_generation == settings.num_iterations == 1
        passes = 1 if alone else settings.steps_per_generation * accumulation
        block = settings.steps_per_generation * settings.num_iterations
        at_once = settings.rows_at_a_time * processes * passes // group
        per_block = accumulation if alone else 1
        if settings.max_steps is not None:
            blocks = math.ceil(settings.max_steps / block)
        else:
            blocks = max(1, math.ceil(round(settings.epochs * prompts, 6) / (at_once * per_block)))
        return cls(at_once, passes, blocks * per_block, block, blocks * block)

    def rounded_up(self, steps: int) -> int:
        """Return the first multiple of `block` that is not below `steps`."""
        return -(-steps // self.block) * self.block
