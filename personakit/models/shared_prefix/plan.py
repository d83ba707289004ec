"""The calls of the flash kernel that make up the attention over a packed row.

Each `Part` is one call: some queries over some keys. The parts that share queries are merged by their
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
    """The queries at `queries` over the keys at `keys`."""

    queries: slice
    keys: slice
    onto: bool
    """Whether an earlier part had these queries, so that this one is merged with it."""
    causal: bool = False
    """Query i sees keys 0 .. i of `keys`; of later queries, all."""
    mask: torch.Tensor | None = None
    """(queries, keys), 0 where seen and -inf elsewhere; None: no mask."""
    rows: int = 1
    """So many stretches side by side, each over its own keys alone."""
    ragged: Ragged | None = None
    """Where those stretches are of unequal length."""


@dataclass(frozen=True, slots=True)
class Ragged:
    """Padding for stretches of unequal length that lie one behind the other."""

    pad: torch.Tensor
    """(rows * longest,): index of each token, and of a stretch's first token for its padding."""
    held: torch.Tensor
    """Where the tokens stand in the padded rows: undoes `pad`."""
    absent: torch.Tensor
    """(rows * longest,) bool: the padding."""


def whole(packing: Packing) -> list[Part]:
    """Every token's query: a segment and everything below it in one call, then the leaves."""
    parts = [
        Part(slice(s.start, s.end), slice(s.start, s.stop), onto=s.continues, causal=True)
        for s in packing.segments
    ]
    return parts + [_leaves(leaves, slice(leaves.start, leaves.stop)) for leaves in packing.leaves]


class Kept:
    """The tokens of a packing that go through the last layer (`last_layer.py`): all leaves, the wanted ones
    of the shared segments.
    """

    def __init__(self, packing: Packing, wanted: torch.Tensor) -> None:
        """`wanted` (n,): places whose hidden states will be read, in any order, repeats allowed."""
        self.packing = packing
        kept = torch.zeros(packing.tokens, dtype=torch.bool)
        kept[wanted.cpu()] = True
        self.in_segments = sum(int(kept[s.start : s.stop].sum()) for s in packing.segments)
        """How many of them lie in shared segments."""
        for leaves in packing.leaves:
            kept[leaves.start : leaves.stop] = True
        device = packing.token_ids.device
        self.places = kept.nonzero().squeeze(1).to(device)
        """(m,): where they lie in the packed row, ascending."""
        counted = kept.cumsum(0)
        self._before = [0, *counted.tolist()]
        self.new_place = (counted - 1).to(device)
        """(N,): which of them a kept token is."""

    @cached_property
    def parts(self) -> list[Part]:
        """Their queries over the keys of the whole row."""
        parts = []
        for segment in self.packing.segments:
            own, below = self._kept(segment.start, segment.stop), self._kept(segment.stop, segment.end)
            keys = slice(segment.start, segment.stop)
            if own.stop > own.start:
                places = self.places[own, None] - segment.start
                unseen = torch.arange(segment.stop - segment.start) > places
                mask = torch.zeros(unseen.shape).masked_fill(unseen, -torch.inf)
                parts.append(Part(own, keys, onto=segment.continues, mask=mask))
            if below.stop > below.start:
                parts.append(Part(below, keys, onto=segment.continues))
        for leaves in self.packing.leaves:
            parts.append(_leaves(leaves, self._kept(leaves.start, leaves.stop)))
        return parts

    def _kept(self, start: int, stop: int) -> slice:
        return slice(self._before[start], self._before[stop])


def _leaves(leaves: Leaves, queries: slice) -> Part:
    keys = slice(leaves.start, leaves.stop)
    ragged = _ragged(leaves.lengths) if min(leaves.lengths) != max(leaves.lengths) else None
    return Part(queries, keys, leaves.continues, causal=True, rows=len(leaves.lengths), ragged=ragged)


def _ragged(lengths: tuple[int, ...]) -> Ragged:
    columns = numpy.arange(max(lengths))
    real = columns < numpy.array(lengths)[:, None]
    starts = numpy.cumsum((0, *lengths[:-1]))[:, None]
    return Ragged(
        pad=torch.from_numpy(numpy.where(real, starts + columns, starts).ravel()),
        held=torch.from_numpy(numpy.flatnonzero(real)),
        absent=torch.from_numpy(~real.ravel()),
    )
