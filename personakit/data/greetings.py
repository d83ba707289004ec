"""Whom a text greets: "Hi Lena,", "dear mr brown". The words are in `greetings.yaml`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import yaml

_WORDS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
_PHRASES = _WORDS["greetings"].split(", ")
#: Words, in the form of `str.casefold`, with which a text that greets somebody begins.
OPENING_WORDS = frozenset(
    phrase.split()[0].casefold() for phrase in (*_PHRASES, *_WORDS["groups"].split(", "))
)
#: Words in lower case that stand in the place of a name and name no person.
NOT_NAMES = frozenset(_WORDS["not_names"].split(", "))
#: Words of the names of senders that are no people.
ORGANISATIONS = frozenset(_WORDS["organisations"].split(", "))
#: What may stand between a greeting and a name ("hey there Lena", "hallo liebe Anna").
_NO_NAME = OPENING_WORDS.union(_WORDS["fillers"].split(", "))
#: Patterns of a greeting and of a title, in lower case and as written.
GREETING = rf"(?:{'|'.join(map(re.escape, _PHRASES))})"
TITLE = r"\b(?:Mr|Mrs|Ms|Dr|Prof|Professor|Sir|Herrn?|Frau|Mme|Sr|Sra)\b\.?"

_GREETED = re.compile(
    rf"\s*{GREETING}(?:[ \t]+|(?P<comma>,)[ \t]*(?-i:(?=[A-ZÀ-Þ])))(?:{TITLE}[ \t]*)*"
    r"(?P<names>[^\W\d_]{2,}(?:(?:[ \t-]| and | und | & )[^\W\d_]{2,}){0,2})[ \t]*"
    r"(?(comma)(?=!|,?[ \t]*(?:\n|$))|(?=[,;!?.:\n–—-]|$))",  # not "Hi, Unfortunately, it rains"
    re.IGNORECASE,
)
_LETTERS = re.compile(r"[^\W\d_]+")
_AND = re.compile(r" (?:and|und|&) ", re.IGNORECASE)


class Greeted(NamedTuple):
    """Whom a text greets, and where the greeting ends.

    `goes_on` says that a word in lower case follows the name, so that it may be none ("hey running late").
    """

    names: tuple[str, ...]
    goes_on: bool
    end: int


def greeted(text: str) -> Greeted | None:
    """Return whom a text greets at its beginning, None for nobody: a word, and those after it with a capital.

    Names have two letters or more, and at most three words with the "and" between two people.
    """
    found = _GREETED.match(text)
    if found is None:
        return None
    names: list[str] = []
    goes_on = False
    for part in _AND.split(found["names"]):
        words = part.split()
        while len(words) > 1 and words[0].casefold() in _NO_NAME and words[1][0].isupper():
            del words[0]
        name = [words[0], *itertools.takewhile(lambda word: word[0].isupper(), words[1:])]
        parts = _LETTERS.findall(" ".join(name).casefold())
        if NOT_NAMES.isdisjoint(parts) and parts[0] not in OPENING_WORDS:  # "moin moin"
            names.append(" ".join(name))
            goes_on = goes_on or len(name) < len(words)
    if not names or (found["comma"] and goes_on):  # "Hi, Sounds good."
        return None
    return Greeted(tuple(names), goes_on, found.end())


def greeted_words(texts: Iterable[str]) -> frozenset[str]:
    """Return the words of the names that texts greet, in the form of `str.casefold`."""
    found = [each for text in texts if (each := greeted(text)) is not None and not each.goes_on]
    return frozenset(
        word.casefold() for each in found for name in each.names for word in _LETTERS.findall(name)
    )
