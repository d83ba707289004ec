"""The leave-one-out baseline of a policy gradient over groups of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def leave_one_out(rewards: torch.Tensor) -> torch.Tensor:
    """Return advantages (B, G): each reward minus the mean reward of the other samples of its group (G > 1).

    The gradient is unbiased, because the baseline does not depend on the sample; the mean of the whole group
    would scale it by (G - 1) / G. There is no division by the group's standard deviation, which would give
    more weight to groups with similar rewards.
    """
    group = rewards.shape[-1]
    return (rewards - rewards.mean(-1, keepdim=True)) * (group / (group - 1))
