"""How a user writes, apart from their phrases: letter case, spelling, punctuation, length."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from personakit.data.lamp_mini.words import entries, load

Letters = Literal["normal", "lower", "loud"]
Spelling = Literal["american", "british", "casual"]
Fact = Literal["place", "day"]
Form = Literal["statement", "why", "how"]

ENDINGS: Final = (".", "!", "...", " :)", "!!")
JOINTS: Final = (" - ", " | ", ", ", " // ", " ... ")


@dataclass(frozen=True, slots=True)
class Habits:
    """Habits that hold for all topics.

    `letters` "loud" means capitals in a post's greeting and a mail's tag, and Title Case elsewhere. `fact` is
    the detail that the user always mentions, `short` whether posts lack the second half of the sentence,
    `form` the form of headlines, `joint` what separates the parts of headlines and subject lines.
    """

    letters: Letters
    spelling: Spelling
    fact: Fact
    short: bool
    form: Form
    ending: str
    joint: str


def draw_habits(random: Random) -> Habits:
    """Draw a user's habits."""
    return Habits(
        letters=random.choice(("normal", "normal", "lower", "loud")),
        spelling=random.choice(("american", "american", "british", "casual")),
        fact=random.choice(("place", "day")),
        short=random.random() < 0.4,
        form=random.choice(("statement", "why", "how")),
        ending=random.choice(ENDINGS),
        joint=random.choice(JOINTS),
    )


def spell(text: str, spelling: Spelling) -> str:
    """Return `text` (American) in another spelling. A word keeps its capital letter."""
    if spelling == "american":
        return text
    table = load("style")[spelling]

    def changed(match: re.Match[str]) -> str:
        word = match.group()
        new = str(table.get(word.lower(), word))
        return new[0].upper() + new[1:] if word[0].isupper() else new

    return re.sub(r"[A-Za-z]+", changed, text)


def post(habits: Habits, greeting: str, body: str, sign_off: str) -> str:
    """Return a post: greeting, body (without final punctuation), ending, sign-off."""
    body = spell(body, habits.spelling)
    if not greeting.endswith("!"):
        body = lower_first(body)
    if habits.letters == "loud":
        greeting = greeting.upper()
    text = f"{greeting} {body}{habits.ending} {sign_off}"
    return text.lower() if habits.letters == "lower" else text


def title(habits: Habits, text: str) -> str:
    """Return a title or subject in the user's spelling and letter case."""
    text = spell(text, habits.spelling)
    if habits.letters == "lower":
        return text.lower()
    return _title_case(text) if habits.letters == "loud" else text


def capitalized(text: str) -> str:
    """Return `text` with a capital first letter."""
    return text[:1].upper() + text[1:]


def lower_first(text: str) -> str:
    """Return `text` with a small first letter, unless it begins with a name."""
    is_name = text.split(" ", 1)[0] in entries("people", "names")
    return text if is_name else text[:1].lower() + text[1:]


_SMALL_WORDS: Final = frozenset(
    ("a", "an", "and", "as", "at", "but", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with")
)


def _title_case(text: str) -> str:
    words = text.split(" ")
    return " ".join(
        word if place and word in _SMALL_WORDS else capitalized(word) for place, word in enumerate(words)
    )
