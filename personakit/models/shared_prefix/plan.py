"""The flash kernel calls that make up the attention over a packed row.

Each `Part` is one call with some queries over some keys. Parts with the same queries are merged by their
log-sum-exp (`attention.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy
import torch

from personakit.models.shared_prefix.packing import Leaves, Packing


@dataclass(frozen=True, slots=True)
class Part:
    """One kernel call: the queries at `queries` over the keys at `keys`."""

    queries: slice
    keys: slice
    accumulate: bool
    """Whether to merge with an earlier part of the same queries."""
    causal: bool = False
    """Query i attends to keys 0 .. i; later queries attend to all keys."""
    mask: torch.Tensor | None = None
    """(queries, keys), 0 where attended and -inf elsewhere; None: no mask."""
    rows: int = 1
    """The number of consecutive stretches, each of which attends to its own keys only."""
    ragged: Ragged | None = None
    """The padding if those stretches have different lengths."""


@dataclass(frozen=True, slots=True)
class Ragged:
    """Padding for consecutive stretches of different lengths."""

    padded_indices: torch.Tensor
    """(rows * longest,): index of each token; padding has the index of its stretch's first token."""
    token_indices: torch.Tensor
    """Indices of the tokens in the padded rows: the inverse of `pad`."""
    is_padding: torch.Tensor
    """(rows * longest,) bool: whether it is padding."""


def all_parts(packing: Packing) -> list[Part]:
    """Return the parts for all tokens: each segment with everything below it, then the leaves."""
    parts = [
        Part(slice(s.start, s.end), slice(s.start, s.stop), accumulate=s.continues, causal=True)
        for s in packing.segments
    ]
    return parts + [_leaves(leaves, slice(leaves.start, leaves.stop)) for leaves in packing.leaves]


class KeptTokens:
    """The tokens that the last layer computes (`last_layer.py`).

    These are all leaves, and the needed tokens of shared segments.
    """

    def __init__(self, packing: Packing, needed: torch.Tensor) -> None:
        """`needed` (n,) are indices whose hidden states are needed, in any order, with repetitions."""
        self.packing = packing
        kept = torch.zeros(packing.tokens, dtype=torch.bool)
        kept[needed.cpu()] = True
        self.in_segments = sum(int(kept[s.start : s.stop].sum()) for s in packing.segments)
        """The number of kept tokens in shared segments."""
        for leaves in packing.leaves:
            kept[leaves.start : leaves.stop] = True
        device = packing.token_ids.device
        self.places = kept.nonzero().squeeze(1).to(device)
        """(m,): the indices of the kept tokens in the packed row, ascending."""
        counted = kept.cumsum(0)
        self._kept_before = [0, *counted.tolist()]
        self.new_place = (counted - 1).to(device)
        """(N,): the index of each kept token among the kept tokens."""

    @cached_property
    def parts(self) -> list[Part]:
        """The parts for the kept tokens' queries over the whole row's keys."""
        parts = []
        for segment in self.packing.segments:
            own_queries, below_queries = (
                self._kept(segment.start, segment.stop),
                self._kept(segment.stop, segment.end),
            )
            keys = slice(segment.start, segment.stop)
            if own_queries.stop > own_queries.start:
                places = self.places[own_queries, None] - segment.start
                hidden = torch.arange(segment.stop - segment.start) > places
                mask = torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)
                parts.append(Part(own_queries, keys, accumulate=segment.continues, mask=mask))
            if below_queries.stop > below_queries.start:
                parts.append(Part(below_queries, keys, accumulate=segment.continues))
        for leaves in self.packing.leaves:
            parts.append(_leaves(leaves, self._kept(leaves.start, leaves.stop)))
        return parts

    def _kept(self, start: int, stop: int) -> slice:
        return slice(self._kept_before[start], self._kept_before[stop])


def _leaves(leaves: Leaves, queries: slice) -> Part:
    keys = slice(leaves.start, leaves.stop)
    ragged = _ragged(leaves.lengths) if min(leaves.lengths) != max(leaves.lengths) else None
    return Part(queries, keys, leaves.continues, causal=True, rows=len(leaves.lengths), ragged=ragged)


def _ragged(lengths: tuple[int, ...]) -> Ragged:
    columns = numpy.arange(max(lengths))
    real = columns < numpy.array(lengths)[:, None]
    starts = numpy.cumsum((0, *lengths[:-1]))[:, None]
    return Ragged(
        padded_indices=torch.from_numpy(numpy.where(real, starts + columns, starts).ravel()),
        token_indices=torch.from_numpy(numpy.flatnonzero(real)),
        is_padding=torch.from_numpy(~real.ravel()),
    )
