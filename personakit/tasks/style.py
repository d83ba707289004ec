"""Style score: how much a text reads like its writer, rather than like other writers of such texts.

This is author verification by the impostors method (Koppel and Winter 2014, "Determining if two documents are
written by the same author"), in its simplest form: the share of other writers, the impostors, whose texts are
less similar to the text than the writer's own. 0.5 is what a text of another writer gets on average, 1 means
that no impostor is closer. Three choices from the literature:

- Features are character n-grams (Stamatatos 2009, "A survey of modern authorship attribution methods"), here
  of 1 to 3 characters with tf-idf weights, compared by cosine with the mean of a writer's texts.
- Words outside the most frequent ones are masked first, so that topics count less than function words,
  capitals, punctuation and layout (Stamatatos 2017, "Authorship attribution using text distortion").
- Each writer's similarities are standardised by those to texts of others (the z-norm of speaker verification,
  Auckenthaler et al. 2000), because the mean of many texts is closer to any text than the mean of few.

`benchmarks/author_verification.py` measures how far own texts and texts of others are apart.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personakit.data.words import WORD

Floats = NDArray[np.float64]

STYLE = "style"
METHOD = (
    "impostors method (Koppel and Winter 2014) on character n-grams of distorted text (Stamatatos 2009, 2017)"
)
#: Words that are not masked.
FREQUENT_WORDS = 300
#: Fewer other writers than this give no score, and a writer needs this many texts.
LEAST_WRITERS, LEAST_TEXTS = 5, 3
#: Texts of each other writer that are read.
MAX_TEXTS = 20
#: Texts of each other writer to which similarities are standardised.
_COHORT_TEXTS = 5
_DIGIT = re.compile(r"\d")


class StyleScorer:
    """Scores texts against the own texts of their writers and those of `writers`.

    `writers` maps ids to texts of one kind, of people other than the writer and, under their ids, of
    writers to be scored (whose own entry is then left out). Fitting takes about a millisecond per text.
    Raises `ValueError` unless there are `LEAST_WRITERS` with `LEAST_TEXTS` each.
    """

    def __init__(self, writers: Mapping[str, Sequence[str]]) -> None:
        self._texts = {
            writer: list(texts)[-MAX_TEXTS:] for writer, texts in writers.items() if len(texts) >= LEAST_TEXTS
        }
        if len(self._texts) < LEAST_WRITERS:
            raise ValueError(f"{len(self._texts)} writers, expected at least {LEAST_WRITERS}")
        self._ids = list(self._texts)
        self._own = lru_cache(maxsize=4096)(self._profile)

    @property
    def writers(self) -> int:
        """Number of writers whose texts are compared with."""
        return len(self._ids)

    def score(self, text: str, own: Sequence[str], writer: str = "") -> float:
        """Return the score of one text; see `scores`."""
        return float(self.scores([text], [own], [writer])[0])

    def scores(self, texts: Sequence[str], owns: Sequence[Sequence[str]], writers: Sequence[str]) -> Floats:
        """Return the score in [0, 1] of each text, given the own texts and the id of its writer.

        A tie with an impostor counts half. `nan` where the writer has fewer than `LEAST_TEXTS` own texts.
        """
        found = np.full(len(texts), np.nan)
        if not texts:
            return found
        rows = self._vectors(texts)
        impostors = self._standardised(self._means @ rows.T)
        for place, (own, writer) in enumerate(zip(owns, writers, strict=True)):
            if len(own) < LEAST_TEXTS:
                continue
            mean, centre, spread = self._own(tuple(own), writer)
            similarity = ((rows[place] @ mean.T).sum() - centre) / spread
            others = impostors[[each != writer for each in self._ids], place]
            found[place] = np.mean((others < similarity) + 0.5 * (others == similarity))
        return found

    @cached_property
    def _frequent(self) -> frozenset[str]:
        counts = Counter(
            word.casefold()
            for texts in self._texts.values()
            for text in texts
            for word in set(WORD.findall(text))
        )
        most = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:FREQUENT_WORDS]
        return frozenset(word for word, _ in most)

    def _distorted(self, text: str) -> str:
        """Return a text with `*` for a rare word, `A*` for a capitalised one, `AA` for one in capitals."""

        def masked(match: re.Match[str]) -> str:
            word = match.group()
            if word.casefold() in self._frequent:
                return word
            if not word[0].isupper():
                return "*"
            return "AA" if len(word) > 1 and word.isupper() else "A*"

        return WORD.sub(masked, _DIGIT.sub("#", text))

    @cached_property
    def _vectorizer(self) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(
            preprocessor=self._distorted,
            analyzer="char",
            ngram_range=(1, 3),
            sublinear_tf=True,
            min_df=2,
            max_features=20_000,
        )
        return vectorizer.fit([text for texts in self._texts.values() for text in texts])

    def _vectors(self, texts: Iterable[str]) -> Any:
        return self._vectorizer.transform(texts)

    @cached_property
    def _means(self) -> Any:
        """The mean vector of each writer, at unit length, [writers, features]."""
        from scipy.sparse import vstack  # type: ignore[import-untyped]

        return vstack([self._mean(texts) for texts in self._texts.values()], format="csr")

    def _mean(self, texts: Iterable[str]) -> Any:
        """The mean vector of some texts, at unit length, [1, features]."""
        from scipy.sparse import csr_matrix
        from sklearn.preprocessing import normalize

        return normalize(csr_matrix(self._vectors(texts).sum(axis=0)))

    @cached_property
    def _cohort(self) -> tuple[Any, NDArray[np.int64]]:
        """Texts of all writers that similarities are standardised by, and the place of their writers."""
        some = [texts[-_COHORT_TEXTS:] for texts in self._texts.values()]
        places = np.repeat(np.arange(len(some)), [len(texts) for texts in some])
        return self._vectors(text for texts in some for text in texts), places

    @cached_property
    def _norms(self) -> tuple[Floats, Floats]:
        """Mean and spread of each writer's similarity to texts of others, [writers, 1] each."""
        rows, places = self._cohort
        similar = (self._means @ rows.T).toarray()
        others = places[None, :] != np.arange(len(self._ids))[:, None]
        count = others.sum(axis=1, keepdims=True)
        centre = (similar * others).sum(axis=1, keepdims=True) / count
        variance = (np.square(similar - centre) * others).sum(axis=1, keepdims=True) / count
        return centre, _positive(np.sqrt(variance))

    def _standardised(self, similar: Any) -> Floats:
        centre, spread = self._norms
        standardised: Floats = (similar.toarray() - centre) / spread
        return standardised

    def _profile(self, own: tuple[str, ...], writer: str) -> tuple[Any, float, Floats]:
        """Return the mean of a writer's texts, and mean and spread of its similarity to texts of others."""
        mean = self._mean(own)
        rows, places = self._cohort
        mine = self._ids.index(writer) if writer in self._texts else -1
        similar = (rows[places != mine] @ mean.T).toarray()
        return mean, float(similar.mean()), _positive(similar.std())


def _positive(spread: Any) -> Any:
    return np.maximum(spread, 1e-9)
