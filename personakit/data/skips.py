"""Counts of what a reader left out or found missing, by reason."""

from __future__ import annotations

import re
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


#: The verbs of reasons, for one.
_VERBS = {"have": "has", "are": "is", "do": "does", "repeat": "repeats", "contradict": "contradicts"}
_PRONOUNS = {"they": "it", "their": "its", "them": "it"}
_OF_THE_NOUN = re.compile(rf"\b(they|that) ({'|'.join(_VERBS)})\b")
_PRONOUN = re.compile(rf"\b({'|'.join(_PRONOUNS)})\b")


def counted(count: int, phrase: str) -> str:
    """Return a count with a phrase, which begins with a noun in the plural: `1 text left out`."""
    if count == 1:
        words = phrase.split(" ")
        for place, word in enumerate(words[:2]):
            if re.search("[^s]s:?$", word):
                words[place] = re.sub("(?<=ss)es(:?)$|s(:?)$", r"\1\2", re.sub("ies(:?)$", r"ys\1", word))
                break
        phrase = _OF_THE_NOUN.sub(lambda found: f"{found[1]} {_VERBS[found[2]]}", " ".join(words))
        phrase = _PRONOUN.sub(lambda found: _PRONOUNS[found[0]], phrase)
    return f"{count} {phrase}"
