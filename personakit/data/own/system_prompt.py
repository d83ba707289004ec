"""A profile as a system prompt, for tools that take text only: how the writer writes, and a few examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from personakit.data.greetings import greeted_words
from personakit.data.near_duplicates import NearDuplicateOf
from personakit.data.own.profile import Item
from personakit.data.own.style import NAME, count_style, percent
from personakit.data.own.style_card import MAX_TEXTS, messages_answered
from personakit.errors import UserError

_OPENING = "Write as this person writes. Do not add facts, names or numbers that the task does not give."
#: A habit is named where this share of the texts has it, and what a writer avoids below the other.
_OFTEN, _NEVER = 0.5, 0.05
_RUNS, _PHRASES = 3, 5


@dataclass(frozen=True, slots=True)
class SystemPrompt:
    """The prompt, its tokens, and how many points and examples of the profile are in it."""

    text: str
    tokens: int
    points: int
    examples: int


def system_prompt(
    items: Sequence[Item], *, tokens: int, count_tokens: Callable[[str], int], summary: str | None = None
) -> SystemPrompt:
    """Return a prompt of at most `tokens`, of items that are given oldest first.

    `summary` replaces the counted points. Points come first, then as many examples as fit: texts that the
    writer made from an answer, then texts of usual length, newest first, no two of them near-duplicates.
    Raises `UserError` where not even the first point fits.
    """
    points = [summary.strip()] if summary else [f"- {each}" for each in _points(items[-MAX_TEXTS:])]
    parts = [_OPENING]
    for point in points:
        if count_tokens("\n".join([*parts, point])) > tokens:
            break
        parts.append(point)
    named = len(parts) - 1
    if points and not named:
        raise UserError(
            f"--tokens {tokens}: the first point has no room, expected more", hint="for example --tokens 400"
        )
    text, chosen = "\n".join(parts), 0
    shown: list[NearDuplicateOf] = []
    for item in _by_worth(items):
        if any(each.matches(item.text) for each in shown):
            continue
        longer = f"{text}\n\n{_example(item)}" if chosen else f"{text}\n\nExamples:\n\n{_example(item)}"
        if count_tokens(longer) <= tokens:
            text, chosen = longer, chosen + 1
            shown.append(NearDuplicateOf(item.text))
    return SystemPrompt(text, count_tokens(text), named, chosen)


def _points(items: Sequence[Item]) -> list[str]:
    others = messages_answered(items)
    own = [item.text for item in items]
    style = count_style(own, others, greeted_words(own))
    of = style.texts
    points = []
    for what, shares in (("Begins with", style.openings), ("Ends with", style.closings)):
        named = [f'"{each.what}" ({percent(each.texts, of)})' for each in shares[:_RUNS]]
        if named:
            name = f"; {NAME} stands for a name" if any(NAME in each for each in named) else ""
            points.append(f"{what} {', '.join(named)}{name}.")
    words = style.words_of_text
    points.append(f"Usually {words.low} to {words.high} words, {style.words_of_sentence.median} a sentence.")
    for habit, texts in (
        ("All in lower case", style.lower_case),
        ("No mark at the end", style.no_final_mark),
        ("Several paragraphs", style.several_paragraphs),
    ):
        if texts >= _OFTEN * of:
            points.append(f"{habit} ({percent(texts, of)}).")
    used = {name: texts / of for name, (texts, _, _) in style.punctuation.items()}
    often = [name for name, share in used.items() if share >= _OFTEN]
    if often:
        points.append(f"Often uses {', '.join(often)}.")
    never = [name for name in ("exclamation marks", "emoji and smileys") if used.get(name, 0.0) < _NEVER]
    if never:
        points.append(f"Does not use {' or '.join(never)}.")
    if others and style.phrases:  # without others, they are what everybody uses
        points.append(f"Typical words: {', '.join(each.what for each in style.phrases[:_PHRASES])}.")
    return points


def _by_worth(items: Sequence[Item]) -> list[Item]:
    lengths = sorted(len(item.text.split()) for item in items)
    low, high = lengths[len(lengths) // 4], lengths[3 * len(lengths) // 4]

    def worth(item: Item) -> int:
        return 2 if item.draft else int(low <= len(item.text.split()) <= high)

    newest_first = list(reversed(items))
    return sorted(newest_first, key=worth, reverse=True)  # stable


def _example(item: Item) -> str:
    return f"<example>\n{item.text.strip()}\n</example>"
