"""How one person writes, and a draft written that way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from random import Random
from typing import Any

from personakit.data.lamp_mini.style import capitalized
from personakit.recipes.voice.content import capitalized_words, listed
from personakit.recipes.voice.drafts import Draft
from personakit.recipes.voice.phrases import draw_closing, draw_greeting, draw_opening, draw_spelling


@dataclass(frozen=True, slots=True)
class Writer:
    """The habits of a writer; a habit without a value is neutral.

    `greeting` replaces a draft's greeting, if it has one, and has `{}` for the name; `ending` replaces the
    last full stop, and the others too if `every`; `joint` stands between sentences; `shouts` is the number of
    first words in capitals.
    """

    opening: str = ""
    greeting: str = ""
    closing: str = ""
    ending: str | None = None
    every: bool = False
    joint: str = ""
    filler: str = ""
    filler_first: bool = False
    lower: bool = False
    shouts: int = 0
    spelling: tuple[tuple[str, str], ...] = ()
    lines: str = ""
    """What separates opening and closing from the text: "" for a space, or one or two line breaks."""


#: The fields of one habit each, which are switched off together.
HABITS: tuple[tuple[str, ...], ...] = (
    ("opening",),
    ("greeting",),
    ("closing",),
    ("ending", "every"),
    ("joint",),
    ("filler", "filler_first"),
    ("lower",),
    ("shouts",),
    ("spelling",),
)
NEUTRAL = Writer()
_DEFAULTS: Mapping[str, Any] = {each.name: each.default for each in fields(Writer)}


def without(writer: Writer, *habits: tuple[str, ...]) -> Writer:
    """Return the writer without these habits."""
    off: dict[str, Any] = {name: _DEFAULTS[name] for habit in habits for name in habit}
    return replace(writer, **off)


def own_habits(writer: Writer) -> list[tuple[str, ...]]:
    """Return the habits that the writer has."""
    return [habit for habit in HABITS if without(writer, habit) != writer]


def draw_writer(random: Random) -> Writer:
    """Draw a writer with none to about five habits."""
    if random.random() < 0.07:
        return NEUTRAL
    chance = random.random
    writer = Writer(
        opening=draw_opening(random) if chance() < 0.55 else "",
        closing=draw_closing(random) if chance() < 0.65 else "",
        lower=chance() < 0.2,
        lines=random.choice(("", "", "", "\n", "\n\n")),
    )
    if not writer.opening and chance() < 0.5:
        writer = replace(writer, greeting=draw_greeting(random))
    if chance() < 0.5:
        ending = random.choice(
            ("!", "!", "...", "...", "", "!!", "!!!", " :)", "emoticon", "emoji", "mark", "…", "~")
        )
        if ending == "emoticon":
            ending = " " + random.choice(listed("emoticons"))
        elif ending in ("emoji", "mark"):
            ending = (
                random.choice(("", ".", "!") if ending == "mark" else ("",))
                + " "
                + random.choice(listed("emoji"))
            )
        writer = replace(writer, ending=ending, every=ending in ("!", "!!", "...", "…") and chance() < 0.7)
    if chance() < 0.18:
        writer = replace(
            writer, joint=random.choice((" - ", " - ", " — ", "... ", " / ", " // ", ", ", " ... ", "\n"))
        )
    if chance() < 0.16:
        writer = replace(writer, filler=random.choice(listed("fillers")), filler_first=chance() < 0.4)
    if chance() < 0.12 and not writer.lower:
        writer = replace(writer, shouts=random.randint(1, 3))
    if chance() < 0.4:
        writer = replace(writer, spelling=draw_spelling(random))
    return writer


def write(draft: Draft, writer: Writer) -> str:
    """Return `draft` as `writer` would write it; for `NEUTRAL`, the draft's plain text."""
    sentences = [(_spelled(text, writer.spelling), mark) for text, mark in draft.sentences]
    if writer.filler and writer.filler_first:
        text, mark = sentences[-1]
        sentences[-1] = (f"{capitalized(writer.filler)}, {_lower_first(text)}", mark)
    elif writer.filler:
        text, mark = sentences[0]
        sentences[0] = (f"{text}, {writer.filler}", mark)
    body = _joined(sentences, writer)
    greeting, own_line = draft.greeting, "\n" if draft.own_line else " "
    if writer.greeting and greeting:
        greeting = writer.greeting.format(draft.addressee)
        own_line = writer.lines or " "
    if greeting:
        if greeting.endswith(",") and "\n" not in own_line:
            body = _lower_first(body)
        body = f"{greeting}{own_line}{body}"
    if writer.opening:
        if writer.opening[-1] not in ":!]*" and not writer.lines and not greeting:
            body = (
                body
                if writer.opening.endswith(".") and not writer.opening.endswith("..")
                else _lower_first(body)
            )
        body = f"{writer.opening}{writer.lines or ' '}{body}"
    if writer.shouts:
        body = _shouted(body, writer.shouts)
    if writer.closing:
        body = f"{body}{writer.lines or ' '}{writer.closing}"
    return body.lower() if writer.lower else body


def _joined(sentences: list[tuple[str, str]], writer: Writer) -> str:
    """Return the sentences with the writer's marks and joints."""
    text = ""
    for place, (sentence, mark) in enumerate(sentences):
        last = place == len(sentences) - 1
        if writer.ending is not None and (last or writer.every):
            mark = _marked(mark, writer.ending)
        if last:
            return text + sentence + mark
        after = sentences[place + 1][0]
        if writer.joint and mark == ".":
            text += sentence + ("." if writer.joint == "\n" else "") + writer.joint
            if writer.joint != "\n":
                sentences[place + 1] = (_lower_first(after), sentences[place + 1][1])
        else:
            text += f"{sentence}{mark} "
    return text


def _marked(mark: str, ending: str) -> str:
    """Return a sentence's final mark in the writer's way. A question stays one."""
    if mark != "?":
        return ending
    return {"!!": "??", "!!!": "???"}.get(ending, "?" + ending.lstrip(".!…~"))


def _spelled(text: str, spelling: tuple[tuple[str, str], ...]) -> str:
    if not spelling:
        return text
    table = {capitalized(old): capitalized(new) for old, new in spelling} | dict(spelling)
    return _any_of(tuple(table)).sub(lambda found: table[found[0]], text)


@lru_cache(maxsize=256)
def _any_of(phrases: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(phrases, key=len, reverse=True)
    return re.compile(rf"(?<![\w'])(?:{'|'.join(map(re.escape, longest_first))})(?![\w'])")


def _shouted(text: str, count: int) -> str:
    return re.sub(r"\S+", lambda word: word[0].upper(), text, count=count)


def _lower_first(text: str) -> str:
    first = re.split(r"[ ,.!?']", text, maxsplit=1)[0]
    kept = first in capitalized_words() or (len(first) > 1 and first.isupper())
    return text if kept else text[:1].lower() + text[1:]
