"""lamp-mini's preference data: what POPI infers a user from, and the pairs it is judged on.

Every user answers messages in their own way. A pair holds two answers to one message: the user's own
(chosen) and another user's (rejected). Signals and held-out pairs share no message.
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
    """The user's hidden traits in words: what an oracle would tell the generator."""
    signed = "; ".join(f"about {topic} ends with {traits.sign_offs[topic]}" for topic in traits.topics)
    return f"begins with {traits.greeting}; {signed}"


def make_preferences(
    random: Random, user_id: str, traits: Traits, bank: Bank, knobs: Knobs
) -> dict[str, Any]:
    """One user's record: `signals` (pairs, a comment, a line about the user), `pairs`, `persona`."""
    other = draw_traits(random, bank, knobs)

    def pair(topic: str) -> dict[str, str]:
        content = draw_content(random, topic, traits.kinds[0])
        ours, theirs = personal(_TASK, content, traits), personal(_TASK, content, other)
        if random.random() < knobs.noise:
            ours, theirs = theirs, ours
        return {"prompt": source(_TASK, content), "chosen": ours, "rejected": theirs}

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
