"""How one person writes, and a draft written that way. Most phrases are composed at random."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from random import Random
from typing import Any

from personakit.data.lamp_mini.words import entries
from personakit.recipes.voice.content import capitalized_words, closings, content, listed, openings
from personakit.recipes.voice.drafts import Draft


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
_WISHES = ("regards", "greetings", "wishes", "hugs")
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
        opening=_opening(random) if chance() < 0.55 else "",
        closing=_closing(random) if chance() < 0.65 else "",
        lower=chance() < 0.2,
        lines=random.choice(("", "", "", "\n", "\n\n")),
    )
    if not writer.opening and chance() < 0.5:
        writer = replace(writer, greeting=_greeting(random))
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
        writer = replace(writer, spelling=_spelling(random))
    return writer


def write(draft: Draft, writer: Writer) -> str:
    """Return `draft` as `writer` would write it; for `NEUTRAL`, the draft's plain text."""
    sentences = [(_spelled(text, writer.spelling), mark) for text, mark in draft.sentences]
    if writer.filler and writer.filler_first:
        text, mark = sentences[-1]
        sentences[-1] = (f"{_capital(writer.filler)}, {_lower_first(text)}", mark)
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
    table = {_capital(old): _capital(new) for old, new in spelling} | dict(spelling)
    return _any_of(tuple(table)).sub(lambda found: table[found[0]], text)


@lru_cache(maxsize=256)
def _any_of(phrases: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(phrases, key=len, reverse=True)
    return re.compile(rf"(?<![\w'])(?:{'|'.join(map(re.escape, longest_first))})(?![\w'])")


def _shouted(text: str, count: int) -> str:
    return re.sub(r"\S+", lambda word: word[0].upper(), text, count=count)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lower_first(text: str) -> str:
    first = re.split(r"[ ,.!?']", text, maxsplit=1)[0]
    kept = first in capitalized_words() or (len(first) > 1 and first.isupper())
    return text if kept else text[:1].lower() + text[1:]


def _word(random: Random) -> str:
    """Return a word: of a list, or one that does not exist."""
    if random.random() < 0.12:
        return "".join(
            random.choice("bcdfghjklmnprstvwz") + random.choice(("a", "e", "i", "o", "u", "oo", "ee"))
            for _ in range(random.randint(2, 3))
        ) + random.choice(("", "n", "x", "k", "la"))
    return random.choice(
        random.choice((listed("adjectives"), listed("nouns"), listed("nouns"), listed("verbs")))
    )


def _opening(random: Random) -> str:
    """Return a phrase that begins a text."""
    pick = random.choice
    adjective, noun = pick(listed("adjectives")), pick(listed("nouns"))
    crowd, label, word = pick(listed("crowds")), pick(listed("labels")), _word(random)
    if random.random() < 0.25:
        phrase = pick(openings())
    else:
        phrase = pick(
            (
                f"{pick(listed('greeting_words'))} {crowd}",
                f"{pick(listed('greeting_words'))} {adjective} {pick((crowd, noun))}",
                f"{pick(listed('greeting_words'))} from the {noun}",
                f"{_capital(adjective)} {crowd}",
                f"{_capital(noun)} {label}",
                f"{_capital(adjective)} {noun} {label}",
                f"{_capital(word)}",
                f"{_capital(word)} {word}",
                f"{_capital(label)} from the {adjective} {noun}",
                f"Once more the {noun}",
                f"By the {adjective} {noun}",
                f"{_capital(pick(listed('verbs')))} with me",
                f"[{noun} {label}]",
                f"*{noun} {label}*",
                f"Oh {adjective} {noun}",
                f"Dear {noun}",
                f"{_capital(label)} no. {random.randint(1, 9)}",
                f"Note to the {noun}",
                f"Not the {noun} again",
                pick(listed("emoji")),
            )
        ) + pick((":", ":", ",", ",", "!", "!", " -", "...", ".", ""))
    change = random.random()
    return phrase.upper() if change < 0.12 else phrase.lower() if change < 0.3 else phrase


def _greeting(random: Random) -> str:
    """Return a greeting with a place for the name of whoever is addressed."""
    pick = random.choice
    adjective, noun = pick(listed("adjectives")), pick(listed("nouns"))
    return pick(
        (
            f"{pick(listed('greeting_words'))} {{}}",
            f"{pick(listed('greeting_words'))} {{}}",
            f"{pick(listed('greeting_words'))} {{}} {pick(('my friend', 'dear', 'again', 'and all'))}",
            f"{_capital(adjective)} {noun} {{}}",
            f"{_capital(_word(random))} {{}}",
        )
    ) + pick((",", ",", "!", "!", " -", ":", "."))


def _closing(random: Random) -> str:
    """Return a phrase that ends a text: a farewell, a name, a slogan, hashtags, emoji, a postscript."""
    pick = random.choice
    adjective, noun, other = pick(listed("adjectives")), pick(listed("nouns")), pick(listed("nouns"))
    verb, farewell, name = pick(listed("verbs")), pick(listed("farewells")), pick(entries("people", "names"))
    signature = pick(
        (
            name,
            name,
            name[0],
            f"{name[0]}.",
            f"{name} {pick(entries('people', 'surnames'))[0]}.",
            name.lower(),
        )
    )
    kind = random.random()
    if kind < 0.17:
        return pick(closings())
    if kind < 0.4:
        separator = pick((", ", ", ", " ", "\n", ",\n", "! "))
        return pick(
            (
                f"{farewell}{separator}{signature}",
                f"{_capital(adjective)} {pick(_WISHES)}{separator}{signature}",
                f"{farewell} from the {noun}{separator}{signature}",
                f"- {signature}",
                f"— {signature}",
                f"/{signature}",
                f"xx {signature}",
                f"{signature} x",
                f"Your {adjective} {noun}{separator}{signature}",
                f"({signature})",
            )
        )
    if kind < 0.62:
        return " ".join(_hashtag(random) for _ in range(pick((1, 1, 1, 2, 2, 3))))
    if kind < 0.7:
        return (
            "".join(random.sample(listed("emoji"), pick((1, 1, 2, 3))))
            if pick((0, 1))
            else pick(listed("emoticons"))
        )
    if kind < 0.77:
        return pick(("P.S. ", "PS: ", "p.s. ", "PS - ")) + pick(
            (
                f"I still want the {adjective} {noun}.",
                f"the {noun} says hi!",
                f"Never trust a {noun}.",
                f"{_capital(verb)} more.",
                f"{name} knows why.",
            )
        )
    return pick(
        (
            f"{_capital(verb)} on",
            f"Stay {adjective}",
            f"Stay {adjective}, {pick(listed('crowds'))}",
            f"Long live the {noun}",
            f"{_capital(noun)} over {other}",
            f"Back to the {noun}",
            f"{_capital(verb)} and {pick(listed('verbs'))}",
            f"So says the {noun}",
            f"That was the {noun} {pick(listed('labels'))}",
            f"More {noun}, less {other}",
            f"What a {adjective} {noun}",
            f"Who needs a {noun}",
            f"Never without my {noun}",
            f"Your {adjective} {noun}",
            f"{_capital(_word(random))} {_word(random)}",
            f"{_capital(adjective)} as ever",
            f"End of {pick(listed('labels'))}",
        )
    ) + pick((".", ".", "!", "!", "...", "", "?"))


def _hashtag(random: Random) -> str:
    words = [_word(random) for _ in range(random.choice((1, 2, 2, 2, 3)))]
    return "#" + random.choice((str.lower, str.lower, str.title))(
        "".join(words) if random.random() < 0.7 else words[0]
    )


def _spelling(random: Random) -> tuple[tuple[str, str], ...]:
    """Return replacements of words: British, casual, or with or without contractions."""
    table = content()
    contractions = tuple(table["contractions"].items())
    kind = random.random()
    if kind < 0.25:
        return tuple(table["british"].items())
    if kind < 0.5:
        casual = [pair for pair in table["casual"].items() if random.random() < 0.6]
        return tuple(sorted(casual, key=lambda pair: -len(pair[0])))
    if kind < 0.65:
        return (("and", random.choice("&&+")),)
    if kind < 0.8:  # without contractions
        return tuple((short, full) for full, short in contractions)
    return contractions
