"""Users of four types with different preferred answers, which one word of a summary can describe."""

from __future__ import annotations

from collections.abc import Sequence

from models.tiny import WORDS

from personakit.popi.joint import SummarisedUser
from personakit.training.preference import TrainingPair

ANSWERS = ("red", "blue", "old", "far")
REQUESTS = tuple(WORDS[20:32])
"""The queries of all users, which do not reveal the user."""
SIGNS = tuple(WORDS[40:44])
"""The signal of each type of user."""


def with_summary(prompt: str, summary: str) -> str:
    """Put the summary first, so that queries share the prefix."""
    return f"{summary} {prompt}" if summary.strip() else prompt


def users(count: int = 8, *, pairs: int = 6, types: Sequence[int] = (0, 1, 2, 3)) -> list[SummarisedUser]:
    found = []
    for number in range(count):
        kind = types[number % len(types)]
        held_out = []
        for place in range(pairs):
            other = (kind + 1 + (number + place) % 3) % 4
            held_out.append(TrainingPair(REQUESTS[place], ANSWERS[kind], ANSWERS[other]))
        prompt = f"{SIGNS[kind]} {WORDS[60 - number % 8]} the"
        found.append(SummarisedUser(f"user {number}", prompt, tuple(held_out)))
    return found
