"""Made-up writers with habits of their own, for style scores."""

from __future__ import annotations

import random

_GREETINGS = ("Hi", "Hello", "Dear all,", "hey", "Good morning,", "Yo")
_CLOSINGS = ("Thanks", "cheers", "Best wishes", "Take care", "ttyl", "Kind regards")
_ENDS = (".", "!", "...", " :)", "!!", ";")
_LINKS = (" and ", " & ", ", so ", " - ", " because ", "; ")
_NOUNS = "report meeting train garden kettle invoice ticket window bridge letter camera sofa".split()  # noqa: SIM905
_VERBS = "moved found sold painted lost cleaned missed opened fixed booked".split()  # noqa: SIM905


def writers(count: int, texts: int = 8, seed: int = 0) -> dict[str, list[str]]:
    """Return the texts of `count` writers by id; greetings, closings, links and ends are a writer's own."""
    generator = random.Random(seed)
    found = {}
    for number in range(count):
        habits = [generator.choice(some) for some in (_GREETINGS, _CLOSINGS, _ENDS, _LINKS)]
        shout = generator.random() < 0.3
        found[f"w{number}"] = [_text(habits, generator, shout) for _ in range(texts)]
    return found


def _text(habits: list[str], generator: random.Random, shout: bool) -> str:
    greeting, closing, end, link = habits
    parts = []
    for _ in range(3):
        clause = [f"we {generator.choice(_VERBS)} the {generator.choice(_NOUNS)}" for _ in range(2)]
        parts.append(link.join(clause) + end)
    text = f"{greeting} {' '.join(parts)} {closing}"
    return text.upper() if shout else text
