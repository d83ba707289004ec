"""lamp-mini's preference data: the signals from which POPI infers a summary, and held-out pairs.

A pair holds two answers to one message: one in this user's style (chosen) and one in another user's
(rejected). Signals and held-out pairs share no message.
"""

from __future__ import annotations

from random import Random
from typing import Any

from personakit.data.lamp_mini.texts import draw_content, personal, source
from personakit.data.lamp_mini.traits import Knobs, Traits, draw_traits
from personakit.data.lamp_mini.words import Bank

SIGNALS = 6
HELD_OUT = 4
_TASK = "LaMP_7"


def persona(traits: Traits) -> str:
    """Describe the user's hidden traits in words, for an oracle."""
    sign_offs = "; ".join(f"about {topic} ends with {traits.sign_offs[topic]}" for topic in traits.topics)
    return f"begins with {traits.greeting}; {sign_offs}"


def make_preferences(
    random: Random, user_id: str, traits: Traits, bank: Bank, knobs: Knobs
) -> dict[str, Any]:
    """Return one user's record: `signals` (pairs, a comment, a demographic line), `pairs`, `persona`."""
    other_traits = draw_traits(random, bank, knobs)

    def pair(topic: str) -> dict[str, str]:
        content = draw_content(random, topic, traits.kinds[0])
        own_answer, other_answer = personal(_TASK, content, traits), personal(_TASK, content, other_traits)
        if random.random() < knobs.noise:
            own_answer, other_answer = other_answer, own_answer
        return {"prompt": source(_TASK, content), "chosen": own_answer, "rejected": other_answer}

    def topics(count: int) -> list[str]:
        return [traits.topics[number % len(traits.topics)] for number in range(count)]

    return {
        "user_id": user_id,
        "signals": {
            "pairs": [pair(topic) for topic in topics(SIGNALS)],
            "comment": f"i like it when a message begins with {traits.greeting}",
            "demographics": f"writes about {', '.join(traits.topics)}",
        },
        "pairs": [pair(topic) for topic in topics(HELD_OUT)],
        "persona": persona(traits),
    }
