"""How prompts, groups of completions, forward passes and optimizer steps divide into whole batches."""

from __future__ import annotations

import math
from dataclasses import dataclass

from personakit.config.training import GroupRLSettings
from personakit.errors import UserError


@dataclass(frozen=True, slots=True)
class GroupBatches:
    """The batches of a stage. A pass is one forward and backward pass on every device. A generation samples
    one batch of completions, which are used in `passes_per_generation` passes, `num_iterations` times.
    """

    prompts_per_generation: int
    """Different prompts per generation, over all devices."""
    passes_per_generation: int
    """TRL's `steps_per_generation`, which counts forward passes; our setting counts optimizer steps."""
    generations: int
    block: int
    """Optimizer steps after which all completions of a generation have been used."""
    steps: int
    """Optimizer steps of the stage, a multiple of `block`."""

    @classmethod
    def plan(cls, settings: GroupRLSettings, prompts: int, processes: int) -> GroupBatches:
        """Plan a stage over `prompts` prompts. Raises `UserError` if a group would be split over devices."""
        group, rows = settings.num_generations, settings.per_device_train_batch_size
        if rows % group:
            raise UserError(
                f"per_device_train_batch_size is {rows} completions, expected a multiple of num_generations "
                f"({group}), so that no group is split",
                hint=f"for example {max(1, rows // group) * group}",
            )
        accumulation = settings.gradient_accumulation_steps
        # One generation per pass keeps groups together; TRL shuffles the rows of a generation for several
        # passes.
        one_pass = settings.steps_per_generation == settings.num_iterations == 1
        passes = 1 if one_pass else settings.steps_per_generation * accumulation
        block = settings.steps_per_generation * settings.num_iterations
        at_once = rows * processes * passes // group
        per_block = accumulation if one_pass else 1
        if settings.max_steps is not None:
            blocks = math.ceil(settings.max_steps / block)
        else:
            blocks = max(1, math.ceil(round(settings.num_train_epochs * prompts, 6) / (at_once * per_block)))
        return cls(at_once, passes, blocks * per_block, block, blocks * block)

    def rounded_up(self, steps: int) -> int:
        """Return the smallest multiple of `block` that is at least `steps`."""
        return -(-steps // self.block) * self.block
