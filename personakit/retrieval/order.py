"""Retrievers that ignore the query text: the newest items, random items, no items.

They follow LaMP's `recency` and `random` (prompts.py) with two changes: random items are drawn without
replacement, and each query has its own random state, so that the order of queries does not matter.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from personakit.records import Context, Profile, Query


class Recency:
    """Returns the `k` newest items, newest first.

    Dates are compared part by part, year first (`2020-01-31`), as in LaMP. If dates are equal or missing, the
    later item in the profile is newer. An item without a date is older than any with one.
    """

    def __init__(self, k: int) -> None:
        self.k = k

    def context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Context]:
        """Return each profile's newest items."""
        return [self._newest(profile) for _, profile in zip(queries, profiles, strict=True)]

    def _newest(self, profile: Profile) -> Context:
        oldest_first = sorted(profile.items, key=lambda item: _date_parts(item.date))
        return Context(items=tuple(oldest_first[::-1][: self.k]))


class Random:
    """Returns `k` random items, reproducible from the seed and the query id."""

    def __init__(self, k: int, *, seed: int = 0) -> None:
        self.k = k
        self.seed = seed

    def context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Context]:
        """Return random items of each query's profile."""
        return [self._draw(query, profile) for query, profile in zip(queries, profiles, strict=True)]

    def _draw(self, query: Query, profile: Profile) -> Context:
        generator = random.Random(f"{self.seed}:{query.id}")
        return Context(items=tuple(generator.sample(profile.items, min(self.k, len(profile.items)))))


class NoRetrieval:
    """Returns no items."""

    def context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Context]:
        """Return an empty context for each query."""
        return [Context() for _ in zip(queries, profiles, strict=True)]


def _date_parts(date: str | None) -> tuple[int, ...]:
    """Return a sort key that puts `2020-9-1` before `2020-10-01`, as in LaMP, and no date first."""
    if date is None:
        return ()
    return tuple(int(digits) for digits in re.findall(r"\d+", date))
