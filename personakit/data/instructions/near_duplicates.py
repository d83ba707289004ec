"""Which texts say the same: equal but for case, spacing and punctuation, or half their word triples shared.

Texts are compared by the 64 smallest hashes of their word triples (a bottom-k sketch: exact for texts of
at most 66 words, an estimate of the Jaccard index beyond), and found by the 16 smallest, so that ten
thousand prompts are looked through in the time of a few. The half is our choice. Under `SHORT` words
one other word is another text, and only equal ones are alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import xxhash

from personakit.data.splitting import same_text

WORDS = 3
SHORT = 12
LIKE = 0.5
_SKETCH, _KEYS = 64, 16


@dataclass(frozen=True, slots=True)
class TextSketch:
    """What is compared of a text: its words, and the smallest hashes of its word triples (none if short)."""

    words: str
    sketch: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> TextSketch:
        """Read a text."""
        words = same_text(text)
        return cls(words, tuple(sorted(set(_triples(words)))[:_SKETCH]))

    @property
    def keys(self) -> tuple[int | str, ...]:
        """What it is found by: texts that say the same share one of these."""
        return (self.words, *self.sketch[:_KEYS])

    def like(self, other: TextSketch) -> bool:
        """Tell whether two texts say the same."""
        if self.words == other.words:
            return True
        if not (self.sketch and other.sketch):
            return False
        union = sorted({*self.sketch, *other.sketch})[:_SKETCH]
        shared = set(self.sketch) & set(other.sketch)
        return sum(each in shared for each in union) >= LIKE * len(union)


class NearTexts:
    """Texts under numbers, and which of them are like another text."""

    def __init__(self, texts: Iterable[tuple[int, TextSketch]] = ()) -> None:
        self._shapes: dict[int, TextSketch] = {}
        self._by_key: dict[int | str, list[int]] = {}
        for number, shape in texts:
            self.add(number, shape)

    def add(self, number: int, shape: TextSketch) -> None:
        """Take a text in."""
        self._shapes[number] = shape
        for key in shape.keys:
            self._by_key.setdefault(key, []).append(number)

    def like(self, shape: TextSketch) -> set[int]:
        """Return the numbers of the texts that say the same."""
        found = {number for key in shape.keys for number in self._by_key.get(key, ())}
        return {number for number in found if shape.like(self._shapes[number])}


def _triples(words: str) -> Iterator[int]:
    each = words.split()
    if len(each) < SHORT:
        return
    for start in range(len(each) - WORDS + 1):
        yield xxhash.xxh3_64_intdigest(" ".join(each[start : start + WORDS]).encode())
