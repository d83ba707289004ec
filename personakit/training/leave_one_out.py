"""The baseline of a policy gradient over groups of samples: what the others of the group earned."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def leave_one_out(rewards: torch.Tensor) -> torch.Tensor:
    """Return advantages, (B, G): each reward less the mean of the other samples' of its group (G > 1).

    The mean of the others does not depend on the sample it is taken from, so the gradient stays unbiased; a
    mean over all of the group would scale it by (G - 1) / G. Not divided by the group's standard deviation,
    which would weigh groups by how alike their samples are.
    """
    group = rewards.shape[-1]
    return (rewards - rewards.mean(-1, keepdim=True)) * (group / (group - 1))
