"""The rows of a batch as a token trie, laid out in one unpadded row.

Two rows share a stretch when they have the same tokens at the same positions from their first token on.
Every shared stretch becomes one segment; segments are laid out depth first, each before what continues
it, so that everything below a segment lies right behind it:

    rows            trie                    packed row
    a b c d e       [a b c] - [d e]         a b c | d e | f g h | i
    a b c f g h             - [f g h]       ^ segment 0..3, all below it ends at 9
    a b c i                 - [i]

A token sees the token at place `j` exactly if it lies in `j .. end(j)`, where `end(j)` is where
everything below `j`'s segment ends. That one rule is the attention pattern (`attention.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy
import torch

#: A stretch is split off where it saves at least this many tokens: below that, the calls for one more
#: segment cost more than the tokens (`benchmarks/grpo_step.py --prompt 64` is near the break-even).
LEAST_SAVED = 32
# Unequal leaves share one padded call while each is at least this share of the longest of them.
_LEAF_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Segment:
    """A shared stretch at places `start .. stop` of the packed row; everything below it ends at `end`."""

    start: int
    stop: int
    end: int
    rows: tuple[int, ...]
    """The batch's rows that run through it."""
    continues: bool
    """Whether it continues another segment."""


@dataclass(frozen=True, slots=True)
class Leaves:
    """Ends of rows that nobody shares, side by side from `start` on; each attends to itself, in one call."""

    start: int
    lengths: tuple[int, ...]
    rows: tuple[int, ...]
    """The batch's row that each one ends."""
    continues: bool
    """Whether they continue a segment; else they are whole rows."""

    @property
    def stop(self) -> int:
        """The place behind the last of them."""
        return self.start + sum(self.lengths)


@dataclass(frozen=True)
class Packing:
    """One batch, packed. N tokens are left of the batch's B x T."""

    token_ids: torch.Tensor
    """(1, N)"""
    positions: torch.Tensor
    """(1, N), as the dense rows had them."""
    places: torch.Tensor
    """(B, T): where each token of the batch lies in the packed row; N for padding."""
    segments: tuple[Segment, ...]
    """Depth first: a segment comes after those it continues."""
    leaves: tuple[Leaves, ...]

    @property
    def tokens(self) -> int:
        """N."""
        return self.token_ids.shape[1]

    @cached_property
    def visible_until(self) -> torch.Tensor:
        """(N,): the place up to which later tokens see this one."""
        ends = torch.empty(self.tokens, dtype=torch.long)
        for segment in self.segments:
            ends[segment.start : segment.stop] = segment.end
        for leaves in self.leaves:
            at = leaves.start
            for length in leaves.lengths:
                ends[at : at + length] = at + length
                at += length
        return ends.to(self.token_ids.device)


@dataclass(slots=True)
class _Node:
    """A stretch of the sorted rows `low .. high` from token `start` to `stop`; leaves have one row."""

    low: int
    high: int
    start: int
    stop: int
    children: list[_Node]

    @property
    def length(self) -> int:
        return self.stop - self.start

    @property
    def is_leaf(self) -> bool:
        return self.high - self.low == 1


def pack(
    token_ids: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    positions: torch.Tensor | None = None,
    *,
    least_saved: int = LEAST_SAVED,
) -> Packing:
    """Pack a batch of (B, T) `token_ids`; `attention_mask` (B, T) is 0 on padding, wherever it stands.

    Without `positions` (B, T) or (1, T), a token's position is its column, as transformers' models have
    it; equal tokens in rows padded differently on the left are then no shared stretch.
    """
    rows = _Rows(token_ids, attention_mask, positions)
    roots = list(rows.nodes(0, len(rows.order), 0, least_saved))
    layout = _Layout(rows)
    layout.place(roots, continues=False)
    device = token_ids.device
    return Packing(
        token_ids=_joined(layout.tokens).to(device),
        positions=_joined(layout.positions).to(device),
        places=torch.from_numpy(layout.places()).to(device),
        segments=tuple(layout.segments),
        leaves=tuple(layout.leaves),
    )


def _joined(stretches: list[numpy.ndarray]) -> torch.Tensor:
    """(1, N); empty where every row is padding."""
    return torch.from_numpy(numpy.concatenate([numpy.zeros(0, numpy.int64), *stretches]))[None]


class _Rows:
    """The batch's real tokens, row by row in sorted order, and how far each agrees with the next."""

    def __init__(
        self, token_ids: torch.Tensor, attention_mask: torch.Tensor | None, positions: torch.Tensor | None
    ) -> None:
        ids = token_ids.cpu().numpy()
        self.shape = ids.shape
        columns = numpy.arange(ids.shape[1], dtype=numpy.int64)
        where = numpy.broadcast_to(columns if positions is None else positions.cpu().numpy(), ids.shape)
        held = None if attention_mask is None else attention_mask.cpu().numpy() != 0
        unsorted: list[tuple[bytes, int, numpy.ndarray]] = []
        for row in range(len(ids)):
            kept = columns if held is None or held[row].all() else columns[held[row]]
            # One key for a token and its position: rows that agree in it agree in both.
            key = where[row, kept].astype(numpy.int64) << 32 | ids[row, kept]
            unsorted.append((key.tobytes(), row, kept))
        # Any order will do that puts rows with a common beginning side by side.
        unsorted.sort(key=lambda entry: (entry[0], entry[1]))
        self.order = [row for _, row, _ in unsorted]
        self.columns = [kept for _, _, kept in unsorted]
        self.keys = [numpy.frombuffer(key, dtype=numpy.int64) for key, _, _ in unsorted]
        self.lengths = [len(key) for key in self.keys]
        self._agree = [agreement(a, b) for a, b in zip(self.keys, self.keys[1:], strict=False)]

    def nodes(self, low: int, high: int, start: int, least_saved: int) -> Iterator[_Node]:
        """The trie of the sorted rows `low .. high` from token `start` on."""
        if high - low == 1:
            if self.lengths[low] > start:
                yield _Node(low, high, start, self.lengths[low], [])
            return
        shared = min(self._agree[low : high - 1])
        kept = (high - low - 1) * (shared - start) >= least_saved
        cuts = [low, *(i + 1 for i in range(low, high - 1) if self._agree[i] == shared), high]
        below = [
            node
            for a, b in itertools.pairwise(cuts)
            for node in self.nodes(a, b, shared if kept else start, least_saved)
        ]
        if kept:
            yield _Node(low, high, start, shared, below)
        else:
            yield from below


def agreement(first: numpy.ndarray, second: numpy.ndarray) -> int:
    """How many leading entries two rows have in common."""
    shorter = min(len(first), len(second))
    differ = first[:shorter] != second[:shorter]
    at = int(differ.argmax()) if shorter else 0
    return at if shorter and differ[at] else shorter


class _Layout:
    """Places the trie's nodes one behind the other."""

    def __init__(self, rows: _Rows) -> None:
        self._rows = rows
        self._at = 0
        self.tokens: list[numpy.ndarray] = []
        self.positions: list[numpy.ndarray] = []
        self.segments: list[Segment] = []
        self.leaves: list[Leaves] = []
        self._paths: list[list[numpy.ndarray]] = [[] for _ in rows.order]

    def place(self, nodes: list[_Node], *, continues: bool) -> None:
        """Lay out `nodes`, which continue the same segment if any, and everything below them."""
        # Longest first, so that leaves of like length stand side by side and share a call.
        ends = sorted((node for node in nodes if node.is_leaf), key=lambda node: node.start - node.stop)
        groups: list[list[_Node]] = []
        for node in ends:
            if not groups or node.length < _LEAF_SHARE * groups[-1][0].length:
                groups.append([])
            groups[-1].append(node)
        for group in groups:
            lengths, rows = (
                tuple(node.length for node in group),
                tuple(self._rows_of(node)[0] for node in group),
            )
            self.leaves.append(Leaves(self._at, lengths, rows, continues))
            for node in group:
                self._put(node)
        for node in nodes:
            if node.is_leaf:
                continue
            number, start = len(self.segments), self._at
            self._put(node)
            stop = self._at
            # Its end is known once everything below it is laid out.
            self.segments.append(Segment(start, stop, stop, self._rows_of(node), continues))
            self.place(node.children, continues=True)
            self.segments[number] = replace(self.segments[number], end=self._at)

    def places(self) -> numpy.ndarray:
        """Where each token of the (B, T) batch lies; the packed row's length for padding."""
        found = numpy.full(self._rows.shape, self._at, dtype=numpy.int64)
        for row, columns, path in zip(self._rows.order, self._rows.columns, self._paths, strict=True):
            if path:
                found[row, columns] = numpy.concatenate(path)
        return found

    def _put(self, node: _Node) -> None:
        key = self._rows.keys[node.low][node.start : node.stop]
        self.tokens.append(key & 0xFFFFFFFF)
        self.positions.append(key >> 32)
        place = numpy.arange(self._at, self._at + len(key))
        self._at += len(key)
        for row in range(node.low, node.high):
            self._paths[row].append(place)

    def _rows_of(self, node: _Node) -> tuple[int, ...]:
        return tuple(self._rows.order[node.low : node.high])
