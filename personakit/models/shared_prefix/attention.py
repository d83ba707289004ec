"""Attention over a packed row: every token sees its own stretch and the stretches above it.

Three ways to compute the same thing:

kernels  On a CPU. For each shared segment one call of PyTorch's flash kernel: the queries of the segment
         *and of everything below it* over the segment's keys. Its causal mask counts from the top left,
         so that the segment's own queries see what precedes them and the later ones see all. Leaves
         attend to themselves in one padded call. The parts are merged by their log-sum-exp, and the
         kernel's backward pass is handed the merged output and log-sum-exp, which is all it needs to
         give each part's exact gradient. No mask, no copy of the shared keys.
flex     On CUDA: FlexAttention with the rule of `packing.py` as its block mask.
mask     Anywhere: one boolean mask. The reference in tests, and the way out where flex fails.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch

from personakit.models.shared_prefix.packing import Packing
from personakit.models.shared_prefix.plan import Kept, Part, whole

#: (query, key, value, dropout, causal, attn_mask=, scale=) -> output, log-sum-exp (B, H, T).
kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packing: Packing,
    scaling: float,
    *,
    kept: Kept | None = None,
    way: str | None = None,
) -> torch.Tensor:
    """Return the attention output (1, n, H, d) of `query` (1, H, n, d) over `key`, `value` (1, H', N, d).

    The queries are all of the packing's (n = N), or those of the `kept` tokens. H' divides H: each group
    of H / H' query heads shares one key-value head (grouped-query attention). `way`: kernels, flex or
    mask; by default what measured best on the tensors' device.
    """
    query, key, value = autocast(query, key, value)
    way = way or {"cpu": "kernels", "cuda": "flex"}.get(query.device.type, "mask")
    if way == "kernels":
        parts = _once(packing, "parts", lambda: whole(packing)) if kept is None else kept.parts
        output: torch.Tensor = _PackedAttention.apply(  # type: ignore[no-untyped-call]
            query, key, value, parts, scaling
        )
        return output
    mixed: torch.Tensor
    holder: Any = packing if kept is None else kept
    grouped = query.shape[1] != key.shape[1]
    if way == "flex":
        blocks = _once(holder, "blocks", lambda: block_mask(packing, kept))
        mixed = _flex()(query, key, value, block_mask=blocks, scale=scaling, enable_gqa=grouped)
    else:
        seen = _once(holder, "seen", lambda: boolean_mask(packing, kept))
        mixed = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=seen, scale=scaling, enable_gqa=grouped
        )
    return mixed.transpose(1, 2)


def autocast(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return `tensors` in autocast's number format where it is on, as PyTorch's own attention takes them."""
    kind = tensors[0].device.type
    if (
        not torch.is_autocast_enabled(kind) or tensors[0].dtype == torch.float64
    ):  # which autocast leaves alone
        return tensors
    return tuple(tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors)


def boolean_mask(packing: Packing, kept: Kept | None = None) -> torch.Tensor:
    """Return (n, N): which keys each query sees."""
    keys = torch.arange(packing.tokens, device=packing.token_ids.device)
    queries = (keys if kept is None else kept.places)[:, None]
    return (queries >= keys) & (queries < packing.visible_until)


def block_mask(packing: Packing, kept: Kept | None = None) -> Any:
    """Return FlexAttention's block mask for the same rule."""
    from torch.nn.attention.flex_attention import create_block_mask

    until = packing.visible_until
    places = torch.arange(packing.tokens, device=until.device) if kept is None else kept.places

    def sees(batch: Any, head: Any, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        place = places[query]
        return (place >= key) & (place < until[key])

    return create_block_mask(sees, None, None, len(places), packing.tokens, device=str(until.device))


def merge(output: torch.Tensor, sums: torch.Tensor, part: torch.Tensor, part_sums: torch.Tensor) -> None:
    """Merge `part`, the attention over other keys, into `output` (n, H, d); in place.

    `sums`, `part_sums` (n, H): the log-sum-exp of each one's scores.
    """
    total = torch.logaddexp(sums, part_sums)
    weight, part_weight = (sums - total).exp_()[..., None], (part_sums - total).exp_()[..., None]
    if output.dtype == weight.dtype:
        output.mul_(weight).addcmul_(part, part_weight)
    else:  # in the sums' precision, rounded once
        output.copy_(output * weight + part * part_weight)
    sums.copy_(total)


class _PackedAttention(torch.autograd.Function):
    """The way called kernels, with its gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        parts: Sequence[Part],
        scaling: float,
    ) -> torch.Tensor:
        # Tokens first, as the projections wrote them: the slices below are then views.
        q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
        output = torch.empty(q.shape, dtype=q.dtype)
        precise = torch.float64 if q.dtype == torch.float64 else torch.float32
        sums = torch.empty(q.shape[:2], dtype=precise)  # log-sum-exp, (n, H)
        for part in parts:
            mixed, mixed_sums = kernel(
                _rows(q[part.queries], part),
                _rows(k[part.keys], part),
                _rows(v[part.keys], part),
                0.0,
                part.causal,
                attn_mask=_mask(part, q.dtype),
                scale=scaling,
            )
            mixed, mixed_sums = _flat(mixed, part), _flat(mixed_sums[..., None], part)[..., 0]
            if part.onto:
                merge(output[part.queries], sums[part.queries], mixed, mixed_sums)
            else:
                output[part.queries], sums[part.queries] = mixed, mixed_sums
        ctx.save_for_backward(query, key, value, output, sums)
        ctx.parts, ctx.scaling = parts, scaling
        return output[None]

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        query, key, value, output, sums = ctx.saved_tensors
        q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
        grad = gradient[0].to(q.dtype)
        if grad.stride(-1) != 1:
            grad = grad.contiguous()
        grad_q = torch.empty(q.shape, dtype=q.dtype)
        grad_k, grad_v = (torch.zeros(t.shape, dtype=t.dtype) for t in (k, v))
        for part in ctx.parts:
            own = _rows(grad[part.queries], part)
            if part.ragged is not None:
                # The padding repeats a real token; without a gradient it adds nothing to the others'.
                own = own.masked_fill(part.ragged.absent.view(len(own), 1, -1, 1), 0)
            part_q, part_k, part_v = _backward(
                own,
                _rows(q[part.queries], part),
                _rows(k[part.keys], part),
                _rows(v[part.keys], part),
                _rows(output[part.queries], part),
                _rows(sums[part.queries][..., None], part)[..., 0],
                0.0,
                part.causal,
                attn_mask=_mask(part, q.dtype),
                scale=ctx.scaling,
            )
            if part.onto:
                grad_q[part.queries] += _flat(part_q, part)
            else:
                grad_q[part.queries] = _flat(part_q, part)
            grad_k[part.keys] += _flat(part_k, part)
            grad_v[part.keys] += _flat(part_v, part)
        return (*(each.transpose(0, 1)[None] for each in (grad_q, grad_k, grad_v)), None, None)


def _rows(tensor: torch.Tensor, part: Part) -> torch.Tensor:
    """(n, H, d) as (rows, H, longest, d); a view, but for ragged rows."""
    if part.ragged is not None:
        tensor = tensor.index_select(0, part.ragged.pad)
    return tensor.view(part.rows, -1, *tensor.shape[1:]).transpose(1, 2)


def _flat(tensor: torch.Tensor, part: Part) -> torch.Tensor:
    """`_rows` undone."""
    flat = tensor.transpose(1, 2).flatten(0, 1)
    return flat if part.ragged is None else flat.index_select(0, part.ragged.held)


def _mask(part: Part, dtype: torch.dtype) -> torch.Tensor | None:
    return None if part.mask is None else part.mask[None, None].to(dtype)


@functools.cache
def _flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    # dynamic: with fixed shapes every new length would be compiled again, for seconds.
    return torch.compile(flex_attention, dynamic=True)


def _once(holder: Any, name: str, make: Any) -> Any:
    """What `make` returns, made once for all layers of a pass."""
    kept = holder.__dict__
    if name not in kept:
        kept[name] = make()
    return kept[name]
