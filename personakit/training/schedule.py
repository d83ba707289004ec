"""The order of examples, fixed before training.

The order depends only on the seed, so a resumed run can continue at its step, and the step at which a token
budget ends is known in advance, for the learning-rate schedule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Batches per pool, within which examples are sorted by length: more batches waste less padding but mix less.
_BATCHES_PER_POOL = 50


@dataclass(frozen=True, slots=True)
class Schedule:
    """`order` holds indices of examples; step s (from 0) uses [s * batch_size : (s + 1) * batch_size]."""

    order: list[int]
    batch_size: int
    tokens_by_step: list[int]
    """Cumulative training tokens (prompt and answer, without padding) after each step."""

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return len(self.tokens_by_step)

    @property
    def tokens(self) -> int:
        """Training tokens of the whole schedule."""
        return self.tokens_after(self.steps)

    def tokens_after(self, step: int) -> int:
        """Return the training tokens of the first `step` steps."""
        return self.tokens_by_step[step - 1] if step else 0


def make_schedule(
    lengths: Sequence[int],
    *,
    batch_size: int,
    seed: int,
    epochs: float,
    max_steps: int | None = None,
    max_tokens: int | None = None,
    group_by_length: bool = True,
    whole_batches: bool = False,
) -> Schedule:
    """Order examples of these `lengths` (tokens) for training.

    Every epoch is a new permutation. The schedule ends after `epochs` (also fractional), or, if they are
    given, at `max_steps` or the step that reaches `max_tokens`, whichever comes first; examples then repeat
    as needed. The last batch may be short; `whole_batches` fills it with examples of the next epoch.
    """
    import numpy

    total = max(1, round(epochs * len(lengths)))
    if max_tokens is not None:
        # One more epoch than needed on average, because the last batch of each may be short.
        total = (math.ceil(max_tokens / max(1, sum(lengths))) + 1) * len(lengths)
    if max_steps is not None:
        total = min(total, max_steps * batch_size) if max_tokens is not None else max_steps * batch_size
    if whole_batches:
        total = math.ceil(total / batch_size) * batch_size
    generator = numpy.random.default_rng(seed)
    rounds = math.ceil(total / len(lengths))
    stream = [int(i) for _ in range(rounds) for i in generator.permutation(len(lengths))][:total]
    batches: list[list[int]] = []
    pool_size = _BATCHES_PER_POOL * batch_size if group_by_length else batch_size
    for start in range(0, len(stream), pool_size):
        pool = stream[start : start + pool_size]
        if group_by_length:
            pool.sort(key=lambda index: lengths[index])
        cut = [pool[at : at + batch_size] for at in range(0, len(pool), batch_size)]
        # Only the last batch may be short, because steps index `order` in full batches.
        full = [batch for batch in cut if len(batch) == batch_size]
        batches += [full[i] for i in generator.permutation(len(full))]
        batches += [batch for batch in cut if len(batch) < batch_size]
    seen = 0
    tokens_by_step: list[int] = []
    order: list[int] = []
    for batch in batches:
        if max_tokens is not None and seen >= max_tokens:
            break
        order += batch
        seen += sum(lengths[index] for index in batch)
        tokens_by_step.append(seen)
    return Schedule(order, batch_size, tokens_by_step)
