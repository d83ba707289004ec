"""Which texts are nearly the same, where one is looked for among many.

Two are where one holds the other and little else, where a letter (of long ones, 2 %) makes the difference, or
where they have twenty words and share 80 % of their runs of three: in a headline another word makes another
headline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from personakit.data.splitting import same_text
from personakit.tasks.edit_distance import edit_distance

#: Two texts count as one by the share of their runs of three words that both have ...
NEAR = 0.8
LONG = 20  # words: in fewer, another word makes another text
#: ... by the share of the longer one that the shorter one is, where it stands in it ...
PART = 0.75
#: ... or by the share of letters that differ (a single one always may).
LETTERS = 0.02
#: A text's longest words, half of which must stand in another before anything costly is done.
PROBES = 6


class Wanted:
    """A text that is looked for among many, nearly as it stands."""

    def __init__(self, text: str) -> None:
        self.plain = same_text(text)
        words = self.plain.split()
        self.size = len(words)
        self._probes = sorted(set(words), key=lambda word: (-len(word), word))[:PROBES]
        self._triples = _triples(words)

    def near(self, text: str) -> bool:
        """Tell whether `text` is nearly this one (see above)."""
        if not self.size or not 0.6 * len(self.plain) <= len(text) <= 2 * len(self.plain) + 20:
            return False
        folded = text.casefold()
        if 2 * sum(probe in folded for probe in self._probes) < len(self._probes):
            return False  # cheap: most texts end here
        plain = same_text(text)
        if plain == self.plain:
            return True
        shorter, longer = sorted((plain, self.plain), key=len)
        if f" {shorter} " in f" {longer} ":
            return len(shorter) >= PART * len(longer)
        if self.size >= LONG:
            triples = _triples(plain.split())
            if (triples & self._triples).total() >= NEAR * max(triples.total(), self._triples.total()):
                return True
        letters = max(1, int(LETTERS * len(longer)))
        return len(longer) - len(shorter) <= letters and edit_distance(plain, self.plain) <= letters


def _triples(words: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(zip(words, words[1:], words[2:], strict=False))
