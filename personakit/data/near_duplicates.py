"""Near-duplicate texts: the one definition that leak checks, pools, splits and imports share.

Two texts are near-duplicates where, without case, spacing and punctuation (`normalized`),

- they are equal, or
- their words are the same but for a few: the Indel similarity of the two sequences (twice their longest
  common subsequence over their lengths together) is at least `SIMILAR`. That is one word added to ten, or
  one of twenty replaced: a headline with another word is another headline. Or
- they have three words and twenty characters and differ by one letter, in a word of four or more; a digit
  makes another text, and a letter of a short word another word ("the title: cat", "the title: bat").

Comparing costs microseconds (rapidfuzz), so both searches here first look for a rare word in common. They
miss nothing: near-duplicates of n words lack at most `_may_lack(n)` of each other's words, so they share one
of the first `_may_lack(n) + 1` distinct words of either text, in whatever order all texts are sorted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from rapidfuzz.distance import Indel, Levenshtein

SIMILAR = 0.95
TYPO_WORDS, TYPO_CHARACTERS, TYPO_LETTERS = 3, 20, 4
_BETWEEN_WORDS = re.compile(r"[\W_]+")
_NO_DIGITS = re.compile(r"\D+")


def normalized(text: str) -> str:
    """Return a text's words without case, spacing and punctuation; a text of nothing else as it is."""
    return _BETWEEN_WORDS.sub(" ", text.casefold()).strip() or text.strip()


def near_duplicates(first: str, second: str) -> bool:
    """Tell whether two texts are near-duplicates (see above)."""
    return _near(normalized(first), normalized(second))


class NearDuplicateOf:
    """One text, sought among many that are read once each: few of them need normalizing."""

    def __init__(self, text: str) -> None:
        self.normalized = normalized(text)
        self.words = len(self.normalized.split())
        self._longest_first = sorted(set(self.normalized.split()), key=len, reverse=True)

    def matches(self, text: str) -> bool:
        """Tell whether `text` is a near-duplicate of this one."""
        return self._may_be_in(text, _may_lack(self.words)) and _near(self.normalized, normalized(text))

    def stands_in(self, text: str) -> bool:
        """Tell whether `text` has these words in a row."""
        return self._may_be_in(text, 0) and f" {self.normalized} " in f" {normalized(text)} "

    def _may_be_in(self, text: str, may_lack: int) -> bool:
        folded = text.casefold()
        for word in self._longest_first:
            if word not in folded:
                may_lack -= 1
                if may_lack < 0:
                    return False
        return True


class NearDuplicates:
    """An index of texts, by their place, which finds the near-duplicates of another text among them."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._places: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            self._places.setdefault(normalized(text), []).append(place)
        self._frequency = Counter(word for text in self._places for word in set(text.split()))
        self._texts_by_word: dict[str, list[str]] = {}
        for text in self._places:
            for word in self._rarest_words(text):
                self._texts_by_word.setdefault(word, []).append(text)

    def of(self, text: str) -> set[int]:
        """Return the places of the near-duplicates of `text`."""
        wanted = normalized(text)
        candidates = {wanted} & self._places.keys()
        candidates.update(*(self._texts_by_word.get(word, ()) for word in self._rarest_words(wanted)))
        return {place for each in candidates if _near(wanted, each) for place in self._places[each]}

    def _rarest_words(self, text: str) -> list[str]:
        words = text.split()
        distinct = sorted(set(words), key=lambda word: (self._frequency[word], word))
        return distinct[: _may_lack(len(words)) + 1]


def _near(first: str, second: str) -> bool:
    """Compare two normalized texts."""
    if first == second:
        return True
    words, others = first.split(), second.split()
    if Indel.normalized_similarity(words, others, score_cutoff=SIMILAR) >= SIMILAR:
        return True
    return (
        min(len(words), len(others)) >= TYPO_WORDS
        and max(len(first), len(second)) >= TYPO_CHARACTERS
        and Levenshtein.distance(first, second, score_cutoff=1) == 1
        and _NO_DIGITS.sub("", first) == _NO_DIGITS.sub("", second)
        and max(map(len, {*words} ^ {*others}), default=0) >= TYPO_LETTERS
    )


def _may_lack(words: int) -> int:
    """Return how many of its words a near-duplicate may lack: two by a letter (a space), or by similarity."""
    return max(2, int(words * 2 * (1 - SIMILAR) / (2 - SIMILAR))) if words >= TYPO_WORDS else 0
