"""Packs the rows of a batch into a token trie, stored as one unpadded row.

Two rows share a stretch if they have the same tokens at the same positions from their first token on. Every
shared stretch becomes one segment. Segments are stored depth first, each before its continuations, so that
everything below a segment follows it directly:

    rows            trie                    packed row
    a b c d e       [a b c] - [d e]         a b c | d e | f g h | i
    a b c f g h             - [f g h]       ^ segment 0..3, everything below it ends at 9
    a b c i                 - [i]

A token attends to the token at index `j` if and only if its own index is in `j .. end(j) - 1`, where `end(j)`
is the end of everything below `j`'s segment. The attention pattern (`attention.py`) follows from this rule.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy
import torch

#: A stretch becomes a segment if it saves at least this many tokens. Below that, the additional kernel calls
#: cost more than the tokens (`benchmarks/grpo_step.py --prompt 64` is close to break-even).
MIN_SAVED_TOKENS = 32
# Leaves of different lengths share one padded call if each has at least this share of the longest one's
# length.
_LEAF_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Segment:
    """A shared stretch at indices `start .. stop` of the packed row. Everything below it ends at `end`."""

    start: int
    stop: int
    end: int
    rows: tuple[int, ...]
    """The rows of the batch that contain it."""
    continues: bool
    """Whether it continues another segment."""


@dataclass(frozen=True, slots=True)
class Leaves:
    """Unshared ends of rows, stored consecutively from `start`. Each attends to itself, all in one call."""

    start: int
    lengths: tuple[int, ...]
    rows: tuple[int, ...]
    """The row of the batch that each of them belongs to."""
    continues: bool
    """Whether they continue a segment; otherwise they are complete rows."""

    @property
    def stop(self) -> int:
        """The index after the last of them."""
        return self.start + sum(self.lengths)


@dataclass(frozen=True)
class Packing:
    """A packed batch of shape (B, T), with N tokens."""

    token_ids: torch.Tensor
    """(1, N)"""
    positions: torch.Tensor
    """(1, N), the position ids of the original rows."""
    places: torch.Tensor
    """(B, T): the index of each token in the packed row; N for padding."""
    segments: tuple[Segment, ...]
    """Depth first: a segment follows those that it continues."""
    leaves: tuple[Leaves, ...]

    @property
    def tokens(self) -> int:
        """N."""
        return self.token_ids.shape[1]

    @cached_property
    def visible_until(self) -> torch.Tensor:
        """(N,): the index before which later tokens attend to this one."""
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
    """A stretch `start .. stop` of the sorted rows `low .. high`. A leaf has one row."""

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
    min_saved_tokens: int = MIN_SAVED_TOKENS,
) -> Packing:
    """Pack a batch of (B, T) `token_ids`. `attention_mask` (B, T) is 0 on padding, anywhere in a row.

    Without `positions` (B, T) or (1, T), a token's position is its column, as in transformers' models. Equal
    tokens in rows with different left padding are then not shared.
    """
    rows = _Rows(token_ids, attention_mask, positions)
    roots = list(rows.nodes(0, len(rows.order), 0, min_saved_tokens))
    layout = _Layout(rows)
    layout.place(roots, continues=False)
    device = token_ids.device
    return Packing(
        token_ids=_concatenated(layout.tokens).to(device),
        positions=_concatenated(layout.positions).to(device),
        places=torch.from_numpy(layout.places()).to(device),
        segments=tuple(layout.segments),
        leaves=tuple(layout.leaves),
    )


def _concatenated(stretches: list[numpy.ndarray]) -> torch.Tensor:
    """Concatenate to (1, N). The result is empty if all rows are padding."""
    return torch.from_numpy(numpy.concatenate([numpy.zeros(0, numpy.int64), *stretches]))[None]


class _Rows:
    """The batch's real tokens as sorted rows, with the common prefix length of each row and the next."""

    def __init__(
        self, token_ids: torch.Tensor, attention_mask: torch.Tensor | None, positions: torch.Tensor | None
    ) -> None:
        ids = token_ids.cpu().numpy()
        self.shape = ids.shape
        columns = numpy.arange(ids.shape[1], dtype=numpy.int64)
        position_ids = numpy.broadcast_to(
            columns if positions is None else positions.cpu().numpy(), ids.shape
        )
        is_real = None if attention_mask is None else attention_mask.cpu().numpy() != 0
        entries: list[tuple[bytes, int, numpy.ndarray]] = []
        for row in range(len(ids)):
            kept = columns if is_real is None or is_real[row].all() else columns[is_real[row]]
            # One key for token and position, so that equal keys agree in both.
            key = position_ids[row, kept].astype(numpy.int64) << 32 | ids[row, kept]
            entries.append((key.tobytes(), row, kept))
        # Any order works that makes rows with a common prefix adjacent.
        entries.sort(key=lambda entry: (entry[0], entry[1]))
        self.order = [row for _, row, _ in entries]
        self.columns = [kept for _, _, kept in entries]
        self.keys = [numpy.frombuffer(key, dtype=numpy.int64) for key, _, _ in entries]
        self.lengths = [len(key) for key in self.keys]
        self._common_prefixes = [
            common_prefix_length(a, b) for a, b in zip(self.keys, self.keys[1:], strict=False)
        ]

    def nodes(self, low: int, high: int, start: int, min_saved_tokens: int) -> Iterator[_Node]:
        """Yield the trie of the sorted rows `low .. high` from token `start` on."""
        if high - low == 1:
            if self.lengths[low] > start:
                yield _Node(low, high, start, self.lengths[low], [])
            return
        shared = min(self._common_prefixes[low : high - 1])
        kept = (high - low - 1) * (shared - start) >= min_saved_tokens
        cuts = [low, *(i + 1 for i in range(low, high - 1) if self._common_prefixes[i] == shared), high]
        children = [
            node
            for a, b in itertools.pairwise(cuts)
            for node in self.nodes(a, b, shared if kept else start, min_saved_tokens)
        ]
        if kept:
            yield _Node(low, high, start, shared, children)
        else:
            yield from children


def common_prefix_length(first: numpy.ndarray, second: numpy.ndarray) -> int:
    """Return the length of the common prefix of two rows."""
    shorter = min(len(first), len(second))
    differ = first[:shorter] != second[:shorter]
    at = int(differ.argmax()) if shorter else 0
    return at if shorter and differ[at] else shorter


class _Layout:
    """Assigns indices of the packed row to the trie's nodes."""

    def __init__(self, rows: _Rows) -> None:
        self._rows = rows
        self._next_index = 0
        self.tokens: list[numpy.ndarray] = []
        self.positions: list[numpy.ndarray] = []
        self.segments: list[Segment] = []
        self.leaves: list[Leaves] = []
        self._paths: list[list[numpy.ndarray]] = [[] for _ in rows.order]

    def place(self, nodes: list[_Node], *, continues: bool) -> None:
        """Lay out `nodes`, which continue the same segment (if any), and everything below them."""
        # Longest first, so that leaves of similar length are adjacent and share a call.
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
            self.leaves.append(Leaves(self._next_index, lengths, rows, continues))
            for node in group:
                self._put(node)
        for node in nodes:
            if node.is_leaf:
                continue
            number, start = len(self.segments), self._next_index
            self._put(node)
            stop = self._next_index
            # Its end is known after everything below it has been laid out.
            self.segments.append(Segment(start, stop, stop, self._rows_of(node), continues))
            self.place(node.children, continues=True)
            self.segments[number] = replace(self.segments[number], end=self._next_index)

    def places(self) -> numpy.ndarray:
        """Return the index of each token of the (B, T) batch; the packed row's length for padding."""
        batch_indices = numpy.full(self._rows.shape, self._next_index, dtype=numpy.int64)
        for row, columns, path in zip(self._rows.order, self._rows.columns, self._paths, strict=True):
            if path:
                batch_indices[row, columns] = numpy.concatenate(path)
        return batch_indices

    def _put(self, node: _Node) -> None:
        key = self._rows.keys[node.low][node.start : node.stop]
        self.tokens.append(key & 0xFFFFFFFF)
        self.positions.append(key >> 32)
        place = numpy.arange(self._next_index, self._next_index + len(key))
        self._next_index += len(key)
        for row in range(node.low, node.high):
            self._paths[row].append(place)

    def _rows_of(self, node: _Node) -> tuple[int, ...]:
        return tuple(self._rows.order[node.low : node.high])
