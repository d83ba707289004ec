"""Decoding with shared prompts: keys and values of a shared segment are stored once for all its rows.

After a packed prefill (`interface.Prefill`), the transformers cache holds only each row's own states: the
unshared end of its prompt, and its generated tokens. Each step attends to the shared segments, with one call
per segment for all its rows, and to the row's own states, and merges the results by log-sum-exp.

This applies to CPUs, where the flash kernel returns the log-sum-exp. On other devices, the prefilled states
are copied to each row (`write_rows`), and transformers decodes as usual.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

from personakit.models.one_token import attend_one_token, is_one_low_token
from personakit.models.shared_prefix.attention import autocast, kernel, merge
from personakit.models.shared_prefix.interface import Prefill
from personakit.models.shared_prefix.packing import Packing


class OwnLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped here
    """One layer of the cache: the states of each row that are not shared, (B, H', own, d)."""

    def __init__(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        *,
        hidden_columns: int,
        decoding: SharedPrefixDecoding,
        reports_rows: bool,
    ) -> None:
        """`hidden_columns` are stored elsewhere; with `reports_rows`, the layer reports changes of rows."""
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values
        self._hidden_columns = hidden_columns
        self._decoding = decoding
        self._reports_rows = reports_rows

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Like transformers' layer, but only within `SharedPrefixDecoding.step`."""
        if not self._decoding.stepping:
            raise ValueError(
                "this cache holds shared prompts, and the model no longer shares prefixes: create a new "
                "cache after unshare_prefixes or set_attn_implementation"
            )
        keys, values = super().update(key_states, value_states, *args, **kwargs)
        return keys, values

    def get_seq_length(self) -> int:
        """Return the number of columns so far, with shared ones and padding, as `generate` counts them."""
        return self._hidden_columns + int(self.keys.shape[-2])

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Reorder rows for beam search."""
        super().batch_select_indices(beam_idx)
        self._report(beam_idx)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only these rows."""
        super().batch_select_indices(indices)
        self._report(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row."""
        rows = torch.arange(len(self.keys)).repeat_interleave(repeats)
        super().batch_repeat_interleave(repeats)
        self._report(rows)

    def _report(self, rows: torch.Tensor) -> None:
        if self._reports_rows:
            self._decoding.select(rows)


class SharedPrefixDecoding:
    """The shared states of a cache. It is the `Pass` of every decoding step."""

    def __init__(self, prefill: Prefill, columns: int) -> None:
        """Take the states of a prefill over a batch with `columns` columns."""
        packing = prefill.packing
        batch = len(packing.places)
        self._columns = columns
        self._contains_row = torch.zeros(len(packing.segments), batch, dtype=torch.bool)
        for number, segment in enumerate(packing.segments):
            self._contains_row[number, list(segment.rows)] = True
        self._states = {
            layer: [
                tuple(state[:, :, segment.start : segment.stop].contiguous() for state in autocast(*states))
                for segment in packing.segments
            ]
            for layer, states in prefill.states.items()
        }
        self._own_indices, self._is_real = _own_indices_of(packing)
        self.stepping = False
        """Whether a step is in progress."""
        self._mask: torch.Tensor | None = None
        self._segment_rows: dict[int, slice | torch.Tensor] = {}
        self.select(torch.arange(batch))

    def cache_layers(self, prefill: Prefill) -> list[OwnLayer]:
        """Return the cache's layers.

        Layers refer to this object but not vice versa: a reference cycle would keep unused states alive.
        """
        return [
            OwnLayer(
                *(_gather_rows(state, self._own_indices) for state in states),
                hidden_columns=self._columns - self._own_indices.shape[1],
                decoding=self,
                reports_rows=number == 0,
            )
            for number, (_, states) in enumerate(sorted(prefill.states.items()))
        ]

    def select(self, rows: torch.Tensor) -> None:
        """Keep these rows, in this order."""
        self._contains_row = self._contains_row[:, rows.cpu()]
        self._is_real = self._is_real[rows.cpu()]
        # Skip segments without remaining rows: the kernel divides by the number of queries.
        self._segment_rows = {
            number: _selector(contains_row.nonzero().squeeze(1))
            for number, contains_row in enumerate(self._contains_row)
            if contains_row.any()
        }

    @contextlib.contextmanager
    def step(self, attention_mask: torch.Tensor | None, columns: int, queries: int) -> Iterator[None]:
        """Run a step of `queries` new tokens per row. `attention_mask` has shape (B, columns + queries)."""
        self._prepare_mask(attention_mask, columns, queries)
        self.stepping = True
        try:
            yield
        finally:
            self.stepping = False

    def _prepare_mask(self, attention_mask: torch.Tensor | None, columns: int, queries: int) -> None:
        batch, tail = self._is_real.shape
        generated = columns - self._columns + queries
        visible = torch.ones(batch, generated, dtype=torch.bool)
        if attention_mask is not None:
            visible = attention_mask[:, self._columns :].bool()
        visible = torch.cat([self._is_real, visible], dim=1)
        if queries == 1 and bool(visible.all()):
            self._mask = None
            return
        width = tail + generated
        causal = torch.ones(queries, width, dtype=torch.bool).tril(width - queries)
        allowed = causal & visible[:, None, None]
        self._mask = torch.zeros(allowed.shape).masked_fill(~allowed, -torch.inf)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """See `Pass.attend`. `key` and `value` are the row's own states in the cache."""
        query, key, value = autocast(query, key, value)
        heads, size = query.shape[1], query.shape[3]
        mask = None if self._mask is None else self._mask.to(query.dtype)
        if is_one_low_token(query, mask):
            own, own_sums = attend_one_token(query, key, value, mask, scaling)
        else:
            own, own_sums = kernel(query, key, value, 0.0, False, attn_mask=mask, scale=scaling)
        query_rows = query.transpose(1, 2)  # (B, T, H, d), as all below
        output: torch.Tensor = own.transpose(1, 2)
        sums = own_sums.transpose(1, 2).contiguous()
        for number, rows in self._segment_rows.items():
            keys, values = self._states[layer][number]
            flat = query_rows[rows].reshape(1, -1, heads, size)
            part, part_sums = kernel(flat.transpose(1, 2), keys, values, 0.0, False, scale=scaling)
            # A slice gives views, which are merged in place; other rows are copied back.
            merged, merged_sums = output[rows], sums[rows]
            merge(
                merged.view(-1, heads, size),
                merged_sums.view(-1, heads),
                part[0].transpose(0, 1),
                part_sums[0].T,
            )
            if not isinstance(rows, slice):
                output[rows], sums[rows] = merged, merged_sums
        return output


def write_rows(prefill: Prefill) -> list[DynamicLayer]:
    """Return cache layers (B, H', T, d) with the prefilled states copied to each row."""
    places = prefill.packing.places
    clamped = places.clamp(max=prefill.packing.tokens - 1)  # padding is masked, so its states do not matter
    return [
        _layer(*(_gather_rows(state, clamped) for state in states))
        for _, states in sorted(prefill.states.items())
    ]


def saved_states(packing: Packing) -> float:
    """Return the states per segment that a decoding step need not read again (a segment costs one call)."""
    saved = sum((len(s.rows) - 1) * (s.stop - s.start) for s in packing.segments)
    return saved / max(1, len(packing.segments))


def _layer(keys: torch.Tensor, values: torch.Tensor) -> DynamicLayer:
    layer = DynamicLayer()
    layer.update(keys, values)
    return layer


def _gather_rows(state: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Gather from (1, H', N, d) at `places` (B, n) to (B, H', n, d)."""
    taken = state[0].index_select(1, places.flatten())
    return taken.view(len(taken), *places.shape, taken.shape[-1]).transpose(0, 1).contiguous()


def _own_indices_of(packing: Packing) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the indices of each row's own states, (B, longest), left-padded, and a mask of real ones."""
    longest = max((max(leaves.lengths) for leaves in packing.leaves), default=0)
    places = torch.zeros(len(packing.places), longest, dtype=torch.long)
    real = torch.zeros_like(places, dtype=torch.bool)
    for leaves in packing.leaves:
        at = leaves.start
        for row, length in zip(leaves.rows, leaves.lengths, strict=True):
            places[row, longest - length :] = torch.arange(at, at + length)
            real[row, longest - length :] = True
            at += length
    return places, real


def _selector(rows: torch.Tensor) -> slice | torch.Tensor:
    """Return the rows as a slice if they are consecutive."""
    if len(rows) and int(rows[-1] - rows[0]) + 1 == len(rows):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
