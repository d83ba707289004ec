"""How prompts, groups of completions, forward passes and optimizer steps fit together, in whole numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from personakit.config.training import GroupRLSettings
from personakit.errors import UserError


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
        group, rows = settings.num_generations, settings.per_device_train_batch_size
        if rows % group:
            raise UserError(
                f"per_device_train_batch_size is {rows} completions, expected a multiple of num_generations "
                f"({group}), so that groups stay whole",
                hint=f"for example {max(1, rows // group) * group}",
            )
        accumulation = settings.gradient_accumulation_steps
        # Generating anew for every pass keeps the groups of each together; TRL shuffles the rows of a
        # generation that serves several.
        alone = settings.steps_per_generation == settings.num_iterations == 1
        passes = 1 if alone else settings.steps_per_generation * accumulation
        block = settings.steps_per_generation * settings.num_iterations
        at_once = rows * processes * passes // group
        per_block = accumulation if alone else 1
        if settings.max_steps is not None:
            blocks = math.ceil(settings.max_steps / block)
        else:
            blocks = max(1, math.ceil(round(settings.num_train_epochs * prompts, 6) / (at_once * per_block)))
        return cls(at_once, passes, blocks * per_block, block, blocks * block)

    def rounded_up(self, steps: int) -> int:
        """Return the first multiple of `block` that is not below `steps`."""
        return -(-steps // self.block) * self.block
