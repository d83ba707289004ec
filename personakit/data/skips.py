"""Counts of what a reader left out or found missing, by reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SkipCount:
    """How often something was skipped for one reason, and the first place (`FILE, line 3`)."""

    count: int
    first: str


class SkipCounts:
    """Counts skipped data by reason."""

    def __init__(self) -> None:
        self._counts: dict[str, SkipCount] = {}

    def add(self, reason: str, place: str, count: int = 1) -> None:
        """Add `count` occurrences of `reason`."""
        if count:
            previous = self._counts.get(reason)
            self._counts[reason] = (
                SkipCount(count, place)
                if previous is None
                else SkipCount(previous.count + count, previous.first)
            )

    @property
    def report(self) -> Mapping[str, SkipCount]:
        """The counts by reason, in order of first occurrence."""
        return dict(self._counts)

    def total(self, *without: str) -> int:
        """Return the total count, except of the reasons in `without`."""
        return sum(skip.count for reason, skip in self._counts.items() if reason not in without)
