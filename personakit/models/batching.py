"""Groups rows into batches: by length, or by common prefix."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy

from personakit.models.shared_prefix.packing import common_prefix_length

#: Minimum share of tokens saved for which rows are batched by common prefix rather than by length.
MIN_SHARED_FRACTION = 0.2


def length_batches(lengths: Sequence[int], *, budget: int, max_rows: int) -> list[list[int]]:
    """Return batches of row indices with at most `max_rows` rows and `budget` padded tokens each.

    Rows are sorted longest first, so that batches need little padding and an out-of-memory error occurs at
    once or never. A row longer than the budget gets its own batch.
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
    rows: Sequence[Sequence[int]], extra_tokens: Sequence[int], *, budget: int, max_rows: int
) -> list[list[int]] | None:
    """Return batches of row indices in which rows with a common prefix are adjacent.

    A batch has at most `max_rows` rows and `budget` tokens, where the prefix shared with the previous row
    counts once and row `i` counts `own[i]` additional tokens (its answer). Returns None if sharing saves too
    little.
    """
    order = sorted(range(len(rows)), key=lambda i: (rows[i], i))
    tokens = [numpy.asarray(rows[index], dtype=numpy.int64) for index in order]
    if not tokens:
        return []
    prefix_lengths = [0, *(common_prefix_length(a, b) for a, b in itertools.pairwise(tokens))]
    if sum(prefix_lengths) < MIN_SHARED_FRACTION * sum(len(row) for row in tokens):
        return None
    batches: list[list[int]] = []
    batch_tokens = 0
    for index, row, shared in zip(order, tokens, prefix_lengths, strict=True):
        new_tokens = len(row) - shared + extra_tokens[index]
        if batches and len(batches[-1]) < max_rows and batch_tokens + new_tokens <= budget:
            batches[-1].append(index)
            batch_tokens += new_tokens
        else:
            batches.append([index])
            batch_tokens = len(row) + extra_tokens[index]
    return batches
