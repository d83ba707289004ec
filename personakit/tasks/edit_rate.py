"""How much a user still changes of the answers: the edit rate, month by month."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from personakit.tasks.edits import changed_words

UNDATED = ""


class EditedAnswer(NamedTuple):
    """An answer, and the text that its user made of it; `date` is None if unknown."""

    user_id: str
    date: str | None
    answer: str
    final: str


@dataclass(frozen=True, slots=True)
class EditRate:
    """The edits of one user in one month (`2024-05`, or `UNDATED`).

    `rate` is the number of words changed over the number of words of the answers; `unchanged` counts the
    answers that were taken as they were.
    """

    user_id: str
    month: str
    answers: int
    unchanged: int
    words: int
    changed: int

    @property
    def rate(self) -> float:
        """Words changed, per word of the answers."""
        return self.changed / max(1, self.words)


def edit_rates(edited: Iterable[EditedAnswer]) -> list[EditRate]:
    """Return the edit rate of each user and month, in the order of users and months."""
    groups: dict[tuple[str, str], list[EditedAnswer]] = {}
    for each in edited:
        groups.setdefault((each.user_id, (each.date or UNDATED)[:7]), []).append(each)
    return [_rate(user, month, groups[user, month]) for user, month in sorted(groups)]


def _rate(user_id: str, month: str, edited: list[EditedAnswer]) -> EditRate:
    words = sum(len(each.answer.split()) for each in edited)
    changed = [changed_words(each.answer, each.final) for each in edited]
    return EditRate(user_id, month, len(edited), changed.count(0), words, sum(changed))
