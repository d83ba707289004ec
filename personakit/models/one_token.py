"""Attention for one new token in bfloat16 on a CPU, where torch's flash kernel is slow."""

from __future__ import annotations

import torch


def is_one_low_token(query: torch.Tensor, mask: torch.Tensor | None) -> bool:
    """Return whether `attend_one_token` takes this query (B, H, T, d), and beats the flash kernel.

    In bfloat16 on a CPU, the kernel takes up to ten times its float32 time for one token per row.
    """
    return (
        query.shape[2] == 1
        and query.dtype == torch.bfloat16
        and query.device.type == "cpu"
        and not torch.is_grad_enabled()
        and (mask is None or mask.shape[1:3] == (1, 1))
    )


def attend_one_token(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scaling: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the attention (B, H, 1, d) of `query` (B, H, 1, d) over `key`, `value` (B, H', n, d), and its
    log-sum-exp (B, H, 1) in float32.

    `mask` (B or 1, 1, 1, n) is True where attended, or a number to add.
    """
    batch, heads, _, size = query.shape
    grouped = query.reshape(batch, key.shape[1], -1, size)
    scores = (grouped @ key.transpose(-1, -2)).float().mul_(scaling)
    if mask is not None:
        scores = scores.masked_fill_(~mask, -torch.inf) if mask.dtype == torch.bool else scores.add_(mask)
    sums = scores.logsumexp(-1, keepdim=True)
    output = scores.sub_(sums).exp_().to(value.dtype) @ value
    return output.view(batch, heads, 1, size), sums.view(batch, heads, 1)
