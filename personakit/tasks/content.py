"""Content kept: the fraction of the generic answer's facts that a rewrite keeps.

This is entity recall (Nan et al. 2021, arXiv 2102.09130, `recall_t`) with the generic answer as the
reference. Instead of a named-entity tagger, facts are words with a digit and capitalized words that do not
begin a sentence; a benchmark that knows its facts passes its own finder.

A sample contributes (facts kept, facts of the generic answer) to a ratio of sums, so a generic answer without
facts has no weight. Values below 1 are not errors by themselves: a user may prefer a fact left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

FactFinder = Callable[[str], Collection[str]]
"""Takes a text and returns its distinct facts, in the form of `words_of`."""

_WORD = re.compile(r"\w+(?:[.,:'’/-]\w+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?:])\s+|\n+")
_POSSESSIVE = re.compile(r"['’]s$")
#: Always capitalized in English, so not a name.
_PRONOUN = re.compile(r"i(?:['’]\w+)?$")


def entities_and_numbers(text: str) -> frozenset[str]:
    """Return words with a digit, and capitalized words that do not begin a sentence or a line.

    If more than two thirds of the other words are capitalized (Title Case, ALL CAPS), only words with a
    digit.
    """
    facts: set[str] = set()
    names: list[str] = []
    candidates = 0
    for sentence in _SENTENCE_END.split(text):
        for place, word in enumerate(_WORD.findall(sentence)):
            if any(letter.isdigit() for letter in word):
                facts.add(_plain(word))
            elif place and not _PRONOUN.match(word.casefold()):
                candidates += 1
                if word[0].isupper():
                    names.append(_plain(word))
    if 3 * len(names) <= 2 * candidates:
        facts.update(names)
    return frozenset(facts)


def words_of(text: str) -> frozenset[str]:
    """Return the distinct words of a text, lower-case, without possessive 's and commas in numbers."""
    return frozenset(plain for _, plain in words_in(text))


def words_in(text: str) -> list[tuple[str, str]]:
    """Return the words of a text as written, each with its form in `words_of`."""
    return [(word, _plain(word)) for word in _WORD.findall(text)]


def count_kept(generic: str, text: str, find: FactFinder) -> tuple[int, int]:
    """Return how many facts of `generic` occur in `text`, and how many facts it has."""
    facts = frozenset(find(generic))
    return len(facts & words_of(text)), len(facts)


def _plain(word: str) -> str:
    word = _POSSESSIVE.sub("", word.casefold())
    return word.replace(",", "") if word[0].isdigit() else word
