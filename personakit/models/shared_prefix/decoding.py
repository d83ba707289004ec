"""Decoding over shared prompts: keys and values of a shared stretch are held once, for all its rows.

After a packed prefill (`interface.Prefill`) the cache of transformers holds, for each row, only what is
its own: the end of its prompt that nobody shares, and what it generates. Each step attends to the shared
segments, all rows of a segment in one call, and to the row's own part, and merges by log-sum-exp.

On a CPU, where the flash kernel gives the log-sum-exp. Elsewhere the prefilled states are written out
row by row (`write_rows`), and decoding is transformers' own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

from personakit.models.shared_prefix.attention import autocast, kernel, merge
from personakit.models.shared_prefix.interface import Prefill
from personakit.models.shared_prefix.packing import Packing


class OwnLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped here
    """One layer of the cache: what each row has of its own, (B, H', own, d)."""

    def __init__(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        *,
        hidden: int,
        decoding: SharedPrefixDecoding,
        tells: bool,
    ) -> None:
        """`hidden`: how many columns of the batch are not here; `tells`: `decoding` of changed rows."""
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values
        self._hidden = hidden
        self._decoding = decoding
        self._tells = tells

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As transformers' layer, within a `Decoding.step` alone: other passes would miss the shared part."""
        if not self._decoding.stepping:
            raise ValueError(
                "this cache was filled over shared prompts, and the model has since stopped sharing: "
                "start a new cache after unshare_prefixes or set_attn_implementation"
            )
        keys, values = super().update(key_states, value_states, *args, **kwargs)
        return keys, values

    def get_seq_length(self) -> int:
        """Return the columns seen so far, the shared ones and padding included, as `generate` counts."""
        return self._hidden + int(self.keys.shape[-2])

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Beams take over each other's rows."""
        super().batch_select_indices(beam_idx)
        self._tell(beam_idx)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows."""
        super().batch_select_indices(indices)
        self._tell(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row."""
        rows = torch.arange(len(self.keys)).repeat_interleave(repeats)
        super().batch_repeat_interleave(repeats)
        self._tell(rows)

    def _tell(self, rows: torch.Tensor) -> None:
        if self._tells:
            self._decoding.select(rows)


class SharedPrefixDecoding:
    """The shared part of a cache; a `Pass` for every step."""

    def __init__(self, prefill: Prefill, columns: int) -> None:
        """Take the states of a prefill over a batch of `columns` columns."""
        packing = prefill.packing
        batch = len(packing.places)
        self._columns = columns
        self._runs_through = torch.zeros(len(packing.segments), batch, dtype=torch.bool)
        for number, segment in enumerate(packing.segments):
            self._runs_through[number, list(segment.rows)] = True
        self._states = {
            layer: [
                tuple(state[:, :, segment.start : segment.stop].contiguous() for state in autocast(*states))
                for segment in packing.segments
            ]
            for layer, states in prefill.states.items()
        }
        self._own, self._real = _own_places(packing)
        self.stepping = False
        """Whether a step is under way."""
        self._mask: torch.Tensor | None = None
        self._rows: dict[int, slice | torch.Tensor] = {}
        self.select(torch.arange(batch))

    def own_layers(self, prefill: Prefill) -> list[OwnLayer]:
        """Return the cache's layers. They know of this object and not the other way round: no cycle holds the
        states of a cache that is no longer used.
        """
        return [
            OwnLayer(
                *(_rows(state, self._own) for state in states),
                hidden=self._columns - self._own.shape[1],
                decoding=self,
                tells=number == 0,
            )
            for number, (_, states) in enumerate(sorted(prefill.states.items()))
        ]

    def select(self, rows: torch.Tensor) -> None:
        """Go on with these rows, in this order."""
        self._runs_through = self._runs_through[:, rows.cpu()]
        self._real = self._real[rows.cpu()]
        # A segment whose rows have all gone is not asked: the kernel divides by the number of queries.
        self._rows = {
            number: _selector(through.nonzero().squeeze(1))
            for number, through in enumerate(self._runs_through)
            if through.any()
        }

    @contextlib.contextmanager
    def step(self, attention_mask: torch.Tensor | None, columns: int, queries: int) -> Iterator[None]:
        """A step of `queries` new tokens a row behind `columns`; `attention_mask` (B, columns + queries)."""
        self._begin(attention_mask, columns, queries)
        self.stepping = True
        try:
            yield
        finally:
            self.stepping = False

    def _begin(self, attention_mask: torch.Tensor | None, columns: int, queries: int) -> None:
        batch, tail = self._real.shape
        generated = columns - self._columns + queries
        seen = torch.ones(batch, generated, dtype=torch.bool)
        if attention_mask is not None:
            seen = attention_mask[:, self._columns :].bool()
        seen = torch.cat([self._real, seen], dim=1)
        if queries == 1 and bool(seen.all()):
            self._mask = None
            return
        width = tail + generated
        causal = torch.ones(queries, width, dtype=torch.bool).tril(width - queries)
        allowed = causal & seen[:, None, None]
        self._mask = torch.zeros(allowed.shape).masked_fill(~allowed, -torch.inf)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """As `Pass.attend`; `key` and `value` are the cache's own part."""
        query, key, value = autocast(query, key, value)
        heads, size = query.shape[1], query.shape[3]
        mask = None if self._mask is None else self._mask.to(query.dtype)
        own, own_sums = kernel(query, key, value, 0.0, False, attn_mask=mask, scale=scaling)
        asked = query.transpose(1, 2)  # (B, T, H, d), as all below
        output: torch.Tensor = own.transpose(1, 2)
        sums = own_sums.transpose(1, 2).contiguous()
        for number, rows in self._rows.items():
            keys, values = self._states[layer][number]
            flat = asked[rows].reshape(1, -1, heads, size)
            part, part_sums = kernel(flat.transpose(1, 2), keys, values, 0.0, False, scale=scaling)
            # A slice gives views, merged in place; other rows are taken out and put back.
            into, into_sums = output[rows], sums[rows]
            merge(
                into.view(-1, heads, size), into_sums.view(-1, heads), part[0].transpose(0, 1), part_sums[0].T
            )
            if not isinstance(rows, slice):
                output[rows], sums[rows] = into, into_sums
        return output


def write_rows(prefill: Prefill) -> list[DynamicLayer]:
    """Return cache layers (B, H', T, d) with the prefilled states written out for each row."""
    places = prefill.packing.places
    held = places.clamp(max=prefill.packing.tokens - 1)  # padding is masked: any state will do there
    return [_layer(*(_rows(state, held) for state in states)) for _, states in sorted(prefill.states.items())]


def spared(packing: Packing) -> float:
    """The states a decoding step need not read twice, per segment (a segment costs a step one call)."""
    saved = sum((len(s.rows) - 1) * (s.stop - s.start) for s in packing.segments)
    return saved / max(1, len(packing.segments))


def _layer(keys: torch.Tensor, values: torch.Tensor) -> DynamicLayer:
    layer = DynamicLayer()
    layer.update(keys, values)
    return layer


def _rows(state: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """(1, H', N, d) and places (B, n) to (B, H', n, d)."""
    taken = state[0].index_select(1, places.flatten())
    return taken.view(len(taken), *places.shape, taken.shape[-1]).transpose(0, 1).contiguous()


def _own_places(packing: Packing) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each row's own end lies, (B, longest), and which entries are real: padded on the left."""
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
    """A slice where the rows follow each other."""
    if len(rows) and int(rows[-1] - rows[0]) + 1 == len(rows):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
