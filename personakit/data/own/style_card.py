"""Writes the counts of `style.py` as a page of Markdown."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from personakit.data.own.profile import Item
from personakit.data.own.style import Share, Style, count_style, percent
from personakit.data.skips import counted

_ROWS = 8
#: The newest texts that are counted: style changes, and the memory is bounded.
MAX_TEXTS = 2_000
#: How requests begin that an importer makes of a subject, a title or a commit.
_MADE = ("Write an e-mail with", "Write a text with", "Write the message of")


def style_card(items: Sequence[Item], *, name: str, names: Collection[str] = ()) -> str:
    """Return the style card of a writer's newest items, given oldest first. `names` are words of names."""
    items = items[-MAX_TEXTS:]
    texts = [item.text for item in items]
    others = messages_answered(items)
    style = count_style(texts, others, names)
    dates = [date for date in (items[0].date, items[-1].date) if date is not None]
    lines = [
        f"# How {_cell(name)} writes",
        "",
        f"Counted in {counted(style.texts, 'texts')} of {counted(style.words, 'words')}"
        + (f", {dates[0][:10]} to {dates[-1][:10]}" if dates else "")
        + ". Each share is of the texts, if nothing else is said.",
        "",
        *_shares("Greetings and openings", style.openings, style.texts, "begins with"),
        *_shares("Sign-offs and endings", style.closings, style.texts, "ends with"),
        *_length(style),
        *_punctuation(style),
        *_spelling(style),
        *_shares(
            "Words and phrases" + (" used more than in the messages answered" if others else ""),
            style.phrases,
            style.texts,
            "uses",
        ),
    ]
    return "\n".join(lines).rstrip() + "\n"


def messages_answered(items: Sequence[Item]) -> list[str]:
    """Return the requests of items, if most are other people's messages, and not made by an importer."""
    asked = [item.request for item in items if item.request]
    made = sum(request.startswith(_MADE) for request in asked)
    return asked if len(asked) - made >= 5 and made < len(asked) / 2 else []


def _shares(title: str, shares: Sequence[Share], texts: int, heading: str) -> list[str]:
    if not shares:
        return [f"## {title}", "", "None that recurs.", ""]
    rows = [
        f"| {_cell(share.what)} | {percent(share.texts, texts)} | {_cell(share.example)} |"
        for share in shares[:_ROWS]
    ]
    return [f"## {title}", "", f"| {heading} | share | example |", "|---|--:|---|", *rows, ""]


def _length(style: Style) -> list[str]:
    words, sentence = style.words_of_text, style.words_of_sentence
    return [
        "## Length",
        "",
        f"- Words in a text: {words.median} in the middle; half of the texts have {words.low} to "
        f"{words.high}.",
        f"- Words in a sentence: {sentence.median}; half have {sentence.low} to {sentence.high}.",
        f"- Several paragraphs: {percent(style.several_paragraphs, style.texts)}.",
        "",
    ]


def _punctuation(style: Style) -> list[str]:
    rows = [
        f"| {name} | {percent(texts, style.texts)} | {per_1000:.1f} | {_cell(example)} |"
        for name, (texts, per_1000, example) in sorted(
            style.punctuation.items(), key=lambda each: -each[1][0]
        )
    ]
    return [
        "## Punctuation and case",
        "",
        "| mark | share | in 1000 words | example |",
        "|---|--:|--:|---|",
        *rows,
        "",
        f"- All in lower case: {percent(style.lower_case, style.texts)}. No mark at the end: "
        f"{percent(style.no_final_mark, style.texts)}. Words in capitals: {style.capitals:.1f} in 1000.",
        "",
    ]


def _spelling(style: Style) -> list[str]:
    if not style.spelling:
        return []
    rows = [f"| {_cell(name)} | {one} | {other} |" for name, (one, other) in style.spelling.items()]
    return ["## Spelling (English)", "", "| | the first | the second |", "|---|--:|--:|", *rows, ""]


def _cell(text: str) -> str:
    """Return a text for a cell: on one line, with what Markdown and HTML would read escaped."""
    line = " ".join(text.split())
    line = line if len(line) <= 80 else line[:79] + "…"
    return re.sub(r"([\\|*_`\[\]<>])", r"\\\1", line)
