"""Which rows share a batch: those of like length, or those that begin alike."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy

from personakit.models.shared_prefix.packing import agreement

#: From this share of tokens saved on, rows that begin alike stand together rather than rows of like length.
WORTH_SHARING = 0.2


def length_batches(lengths: Sequence[int], *, budget: int, max_rows: int) -> list[list[int]]:
    """Cut row indices into batches of at most `max_rows` rows and `budget` padded tokens.

    Longest first, so that rows of like length share a batch and memory runs out at once or never. A
    row longer than the budget gets a batch of its own.
    """
    batches: list[list[int]] = []
    widest = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches and len(batches[-1]) < max_rows and (len(batches[-1]) + 1) * widest <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
            widest = lengths[index]
    return batches


def prefix_batches(
    rows: Sequence[Sequence[int]], own: Sequence[int], *, budget: int, max_rows: int
) -> list[list[int]] | None:
    """Cut row indices into batches in which rows of token ids that begin alike stand together.

    A batch has at most `max_rows` rows and `budget` tokens, where what a row shares with the one before it
    counts once; row `i` counts `own[i]` tokens besides (its answer's). None where too little is shared for
    this order to pay.
    """
    order = sorted(range(len(rows)), key=lambda i: (rows[i], i))
    tokens = [numpy.asarray(rows[index], dtype=numpy.int64) for index in order]
    if not tokens:
        return []
    alike = [0, *(agreement(a, b) for a, b in itertools.pairwise(tokens))]
    if sum(alike) < WORTH_SHARING * sum(len(row) for row in tokens):
        return None
    batches: list[list[int]] = []
    held = 0
    for index, row, shared in zip(order, tokens, alike, strict=True):
        more = len(row) - shared + own[index]
        if batches and len(batches[-1]) < max_rows and held + more <= budget:
            batches[-1].append(index)
            held += more
        else:
            batches.append([index])
            held = len(row) + own[index]
    return batches
