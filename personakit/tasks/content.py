"""Content kept: how many of the generic answer's facts are still in what was made of it.

Entity recall, after Nan et al. 2021 (arXiv 2102.09130, `recall_t`), with the generic answer `g` in
the place of the reference. They find entities with a tagger; on text that people wrote we take what
can be seen without one: words with a digit in them, and capitalised words that do not begin a
sentence. A benchmark that knows its texts' facts hands in a finder of its own.

A sample adds (facts kept, facts of g), so the figure is a ratio of sums, and a sample whose `g`
states nothing weighs nothing. Keeping less than everything is no fault by itself: a user may want a
fact left out. It is a fault where the score falls with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

FactFinder = Callable[[str], Collection[str]]
"""Takes a text and returns the distinct facts it states, each as it looks in `words_of` a text."""

_WORD = re.compile(r"\w+(?:[.,:'’/-]\w+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?:])\s+|\n+")
_POSSESSIVE = re.compile(r"['’]s$")
#: The capital of these is English spelling, no name.
_PRONOUN = re.compile(r"i(?:['’]\w+)?$")


def entities_and_numbers(text: str) -> frozenset[str]:
    """Return words with a digit, and capitalised words that do not begin a sentence or a line.

    Where more than two thirds of the words that could tell are capitalised (a headline In Title Case, a
    shouted text) capitals say nothing, and only words with a digit are taken.
    """
    facts: set[str] = set()
    names: list[str] = []
    telling = 0
    for sentence in _SENTENCE_END.split(text):
        for place, word in enumerate(_WORD.findall(sentence)):
            if any(letter.isdigit() for letter in word):
                facts.add(_plain(word))
            elif place and not _PRONOUN.match(word.casefold()):
                telling += 1
                if word[0].isupper():
                    names.append(_plain(word))
    if 3 * len(names) <= 2 * telling:
        facts.update(names)
    return frozenset(facts)


def words_of(text: str) -> frozenset[str]:
    """Return the distinct words of a text, without case, possessive 's and commas in numbers."""
    return frozenset(map(_plain, _WORD.findall(text)))


def count_kept(generic: str, text: str, find: FactFinder) -> tuple[int, int]:
    """Return how many facts of `generic` stand anywhere in `text`, and how many there are."""
    facts = frozenset(find(generic))
    return len(facts & words_of(text)), len(facts)


def _plain(word: str) -> str:
    word = _POSSESSIVE.sub("", word.casefold())
    return word.replace(",", "") if word[0].isdigit() else word
