"""Users of four types, who like four different answers: one word of a summary can tell all there is."""

from __future__ import annotations

from collections.abc import Sequence

from models.tiny import WORDS

from personakit.popi.joint import SummarisedUser
from personakit.training.preference import TrainingPair

ANSWERS = ("red", "blue", "old", "far")
REQUESTS = tuple(WORDS[20:32])
"""Asked by everybody: who asks cannot be seen from them."""
SIGNS = tuple(WORDS[40:44])
"""What a user of each type shows of themselves."""


def with_summary(prompt: str, summary: str) -> str:
    """The summary first, so that requests share it."""
    return f"{summary} {prompt}" if summary.strip() else prompt


def users(count: int = 8, *, pairs: int = 6, types: Sequence[int] = (0, 1, 2, 3)) -> list[SummarisedUser]:
    found = []
    for number in range(count):
        kind = types[number % len(types)]
        judged = []
        for place in range(pairs):
            other = (kind + 1 + (number + place) % 3) % 4
            judged.append(TrainingPair(REQUESTS[place], ANSWERS[kind], ANSWERS[other]))
        prompt = f"{SIGNS[kind]} {WORDS[60 - number % 8]} the"
        found.append(SummarisedUser(f"user {number}", prompt, tuple(judged)))
    return found
