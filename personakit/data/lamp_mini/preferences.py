"""lamp-mini's preference data: the signals from which POPI infers a summary, and held-out pairs.

A pair holds two answers to one message: one in this user's style (chosen) and one in another user's
(rejected). Signals and held-out pairs share no message.
"""

from __future__ import annotations

from random import Random
from typing import Any

from personakit.data.lamp_mini.texts import draw_content, personal, source
from personakit.data.lamp_mini.traits import Knobs, Traits, draw_traits
from personakit.data.lamp_mini.words import Split

SIGNALS = 6
HELD_OUT = 4
_TASK = "LaMP_7"


def persona(traits: Traits) -> str:
    """Describe the user's hidden traits in words, for an oracle."""
    habits = traits.habits
    letters = {"lower": "writes in lower case", "loud": "puts the greeting in capitals"}
    lines = [
        f'Begins posts with "{traits.greeting}"',
        *([letters[habits.letters]] if habits.letters in letters else []),
        *([f"uses {habits.spelling} spelling"] if habits.spelling != "american" else []),
        f"names the {habits.fact}",
        "keeps it short" if habits.short else "tells the whole story",
        f'ends sentences with "{habits.ending}"',
        *(f'about {topic} signs off with "{traits.sign_offs[topic]}"' for topic in traits.topics),
    ]
    return "; ".join(lines) + "."


def make_preferences(
    random: Random, user_id: str, traits: Traits, split: Split, knobs: Knobs
) -> dict[str, Any]:
    """Return one user's record: `signals` (pairs, a comment, a demographic line), `pairs`, `persona`."""
    other_traits = draw_traits(random, split, knobs)

    def pair(topic: str) -> dict[str, str]:
        content = draw_content(random, _TASK, topic)
        own_answer, other_answer = personal(content, traits), personal(content, other_traits)
        if random.random() < knobs.noise:
            own_answer, other_answer = other_answer, own_answer
        return {"prompt": source(content), "chosen": own_answer, "rejected": other_answer}

    def topics(count: int) -> list[str]:
        return [traits.topics[number % len(traits.topics)] for number in range(count)]

    return {
        "user_id": user_id,
        "signals": {
            "pairs": [pair(topic) for topic in topics(SIGNALS)],
            "comment": f'I like it when a post begins with "{traits.greeting}"',
            "demographics": f"writes about {', '.join(traits.topics)}",
        },
        "pairs": [pair(topic) for topic in topics(HELD_OUT)],
        "persona": persona(traits),
    }
