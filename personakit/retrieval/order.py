"""Providers that read no word: the newest items, random items, none.

LaMP's `recency` and `random` (prompts.py), with two choices of ours: random items are drawn without
replacement, and each query has a draw of its own that no order of queries can change.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from personakit.records import Context, Profile, Query


class Recency:
    """The `k` newest items, newest first.

    Dates are compared as LaMP writes them, year first (`2020-01-31`). Where dates are equal or
    missing, the later item of the profile is the newer; an item without a date is older than any
    with one.
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
    """`k` items drawn at random, the same for the same seed and query id."""

    def __init__(self, k: int, *, seed: int = 0) -> None:
        self.k = k
        self.seed = seed

    def context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Context]:
        """Return each query's random items of its own profile."""
        return [self._draw(query, profile) for query, profile in zip(queries, profiles, strict=True)]

    def _draw(self, query: Query, profile: Profile) -> Context:
        generator = random.Random(f"{self.seed}:{query.id}")
        return Context(items=tuple(generator.sample(profile.items, min(self.k, len(profile.items)))))


class Nothing:
    """No item at all: a model is told nothing about the user."""

    def context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Context]:
        """Return an empty context for each query."""
        return [Context() for _ in zip(queries, profiles, strict=True)]


def _date_parts(date: str | None) -> tuple[tuple[bool, int, str], ...]:
    """Order `2020-9-1` before `2020-10-01` (LaMP compares the numbers), and no date before any date."""
    if date is None:
        return ()
    return tuple((part.isdigit(), int(part) if part.isdigit() else 0, part) for part in date.split("-"))
