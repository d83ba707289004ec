"""Attention over a packed row: every token attends to its own stretch and to the segments it continues.

Three backends with the same result:

kernels  On a CPU. For each shared segment one call of PyTorch's flash attention kernel: queries of the
segment
         *and of everything below it* over the segment's keys. The kernel's causal mask is aligned top left,
         so the segment's own queries see the preceding keys, and later queries see all. Leaves attend to
         themselves in one padded call. The partial results are merged by their log-sum-exp. The kernel's
         backward pass gets the merged output and log-sum-exp, from which it computes each part's exact
         gradient. There is no mask and no copy of the shared keys.
flex     On CUDA: FlexAttention with a block mask for the rule in `packing.py`.
mask     Any device: one boolean mask. The reference in tests, and the fallback if FlexAttention fails.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch

from personakit.models.shared_prefix.packing import Packing
from personakit.models.shared_prefix.plan import KeptTokens, Part, all_parts

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
    kept: KeptTokens | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """Return the attention output (1, n, H, d) of `query` (1, H, n, d) over `key`, `value` (1, H', N, d).

    The queries are all tokens of the packing (n = N), or the `kept` tokens. H' divides H: each group of H /
    H' query heads shares one key-value head (grouped-query attention). `backend` is kernels, flex or mask;
    None takes the fastest one for the device.
    """
    query, key, value = autocast(query, key, value)
    backend = backend or {"cpu": "kernels", "cuda": "flex"}.get(query.device.type, "mask")
    if backend == "kernels":
        parts = _cached(packing, "parts", lambda: all_parts(packing)) if kept is None else kept.parts
        output: torch.Tensor = _PackedAttention.apply(  # type: ignore[no-untyped-call]
            query, key, value, parts, scaling
        )
        return output
    mixed: torch.Tensor
    owner: Any = packing if kept is None else kept
    grouped = query.shape[1] != key.shape[1]
    if backend == "flex":
        blocks = _cached(owner, "blocks", lambda: block_mask(packing, kept))
        mixed = _flex()(query, key, value, block_mask=blocks, scale=scaling, enable_gqa=grouped)
    else:
        visible = _cached(owner, "seen", lambda: boolean_mask(packing, kept))
        mixed = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=visible, scale=scaling, enable_gqa=grouped
        )
    return mixed.transpose(1, 2)


def autocast(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return `tensors` in autocast's dtype if it is enabled, as PyTorch's own attention does."""
    kind = tensors[0].device.type
    # Autocast does not change float64.
    if not torch.is_autocast_enabled(kind) or tensors[0].dtype == torch.float64:
        return tensors
    return tuple(tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors)


def boolean_mask(packing: Packing, kept: KeptTokens | None = None) -> torch.Tensor:
    """Return a boolean mask (n, N): the keys that each query attends to."""
    keys = torch.arange(packing.tokens, device=packing.token_ids.device)
    queries = (keys if kept is None else kept.places)[:, None]
    return (queries >= keys) & (queries < packing.visible_until)


def block_mask(packing: Packing, kept: KeptTokens | None = None) -> Any:
    """Return FlexAttention's block mask for the same rule."""
    from torch.nn.attention.flex_attention import create_block_mask

    until = packing.visible_until
    places = torch.arange(packing.tokens, device=until.device) if kept is None else kept.places

    def attends(batch: Any, head: Any, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        place = places[query]
        return (place >= key) & (place < until[key])

    return create_block_mask(attends, None, None, len(places), packing.tokens, device=str(until.device))


def merge(output: torch.Tensor, sums: torch.Tensor, part: torch.Tensor, part_sums: torch.Tensor) -> None:
    """Merge `part`, the attention over other keys, into `output` (n, H, d), in place.

    `sums` and `part_sums` (n, H) are the log-sum-exp of their scores.
    """
    total = torch.logaddexp(sums, part_sums)
    weight, part_weight = (sums - total).exp_()[..., None], (part_sums - total).exp_()[..., None]
    if output.dtype == weight.dtype:
        output.mul_(weight).addcmul_(part, part_weight)
    else:  # compute in the precision of the sums and round once
        output.copy_(output * weight + part * part_weight)
    sums.copy_(total)


class _PackedAttention(torch.autograd.Function):
    """The kernels backend with its gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        parts: Sequence[Part],
        scaling: float,
    ) -> torch.Tensor:
        # Tokens first, as in the projections' outputs, so that the slices below are views.
        q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
        output = torch.empty(q.shape, dtype=q.dtype)
        sum_dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
        sums = torch.empty(q.shape[:2], dtype=sum_dtype)  # log-sum-exp, (n, H)
        for part in parts:
            mixed, mixed_sums = kernel(
                _to_rows(q[part.queries], part),
                _to_rows(k[part.keys], part),
                _to_rows(v[part.keys], part),
                0.0,
                part.causal,
                attn_mask=_mask(part, q.dtype),
                scale=scaling,
            )
            mixed, mixed_sums = _from_rows(mixed, part), _from_rows(mixed_sums[..., None], part)[..., 0]
            if part.accumulate:
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
            own = _to_rows(grad[part.queries], part)
            if part.ragged is not None:
                # The padding repeats a real token; a zero gradient removes its contribution.
                own = own.masked_fill(part.ragged.is_padding.view(len(own), 1, -1, 1), 0)
            part_q, part_k, part_v = _backward(
                own,
                _to_rows(q[part.queries], part),
                _to_rows(k[part.keys], part),
                _to_rows(v[part.keys], part),
                _to_rows(output[part.queries], part),
                _to_rows(sums[part.queries][..., None], part)[..., 0],
                0.0,
                part.causal,
                attn_mask=_mask(part, q.dtype),
                scale=ctx.scaling,
            )
            if part.accumulate:
                grad_q[part.queries] += _from_rows(part_q, part)
            else:
                grad_q[part.queries] = _from_rows(part_q, part)
            grad_k[part.keys] += _from_rows(part_k, part)
            grad_v[part.keys] += _from_rows(part_v, part)
        return (*(part.transpose(0, 1)[None] for part in (grad_q, grad_k, grad_v)), None, None)


def _to_rows(tensor: torch.Tensor, part: Part) -> torch.Tensor:
    """Reshape (n, H, d) to (rows, H, longest, d): a view, except for ragged rows."""
    if part.ragged is not None:
        tensor = tensor.index_select(0, part.ragged.padded_indices)
    return tensor.view(part.rows, -1, *tensor.shape[1:]).transpose(1, 2)


def _from_rows(tensor: torch.Tensor, part: Part) -> torch.Tensor:
    """The inverse of `_rows`."""
    flat = tensor.transpose(1, 2).flatten(0, 1)
    return flat if part.ragged is None else flat.index_select(0, part.ragged.token_indices)


def _mask(part: Part, dtype: torch.dtype) -> torch.Tensor | None:
    return None if part.mask is None else part.mask[None, None].to(dtype)


@functools.cache
def _flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    # dynamic=True: with static shapes, every new length would be recompiled, which takes seconds.
    return torch.compile(flex_attention, dynamic=True)


def _cached(owner: Any, name: str, make: Any) -> Any:
    """Return the result of `make`, computed once for all layers of a pass."""
    kept = owner.__dict__
    if name not in kept:
        kept[name] = make()
    return kept[name]
