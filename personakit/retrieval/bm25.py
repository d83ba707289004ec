"""Okapi BM25 as LaMP uses it, a user indexed once.

The scores are those of rank_bm25's BM25Okapi (LaMP's rank_profiles.py): k1 1.5, b 0.75, whitespace
split, no lower-casing, a word of the query counted as often as it stands there, and a negative idf
(a word in more than half of the items) replaced by 0.25 of the mean idf over the user's vocabulary.

What differs is the work. rank_bm25 makes a dictionary for each item and asks all of them for each
query word. Here every word is a number whose low bits are given over to its item, so that one sort
lays down the whole inverted index, and a query touches only the postings of its own words.
benchmarks/retrieval.py measures both.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from personakit.records import Context, Profile, Query
from personakit.retrieval.words import Counts, number_query, number_words

K1 = 1.5
B = 0.75
EPSILON = 0.25  # a negative idf becomes this share of the mean idf


class BM25Index:
    """One user's documents, ready to be asked."""

    def __init__(self, documents: Sequence[str]) -> None:
        words, lengths = number_words(documents)
        self.size = len(documents)
        self._shift = np.uint64(max(self.size - 1, 1).bit_length())
        # The high bits say which word, the low bits in which item: equal keys are one posting.
        keys = words >> self._shift << self._shift
        keys |= np.arange(self.size, dtype=np.uint64).repeat(lengths)
        keys.sort()
        posting_starts = _starts_of_runs(keys)
        postings = keys[posting_starts]
        frequencies = np.diff(posting_starts, append=len(keys))
        posting_words = postings >> self._shift
        word_starts = _starts_of_runs(posting_words)
        # One more word, which no query holds, so that a search past the last word still finds one.
        self._words = np.append(posting_words[word_starts], ~np.uint64(0))
        self._bounds = np.append(word_starts, len(postings))
        holding = np.diff(self._bounds)
        self._items = (postings & ((np.uint64(1) << self._shift) - np.uint64(1))).astype(np.int64)
        # K1 (1 - b + b |d| / mean |d|); where every item is empty there is no posting to read it.
        saturation = K1 * (1 - B + B * lengths / (lengths.mean() or 1.0)) if self.size else lengths
        self._weights = frequencies * (K1 + 1) / (frequencies + saturation[self._items])
        self._weights *= _inverse_document_frequencies(holding, self.size).repeat(holding)

    def scores(self, query: str) -> NDArray[np.float64]:
        """Return the score of each document, shape [documents]."""
        times: dict[str, int] = {}
        for word in query.split():  # a Counter takes longer to set up than this to count
            times[word] = times.get(word, 0) + 1
        asked = number_query(times) >> self._shift
        places = self._words.searchsorted(asked)
        starts = self._bounds[places]
        # A word that is not there has the postings from its place to the same place: none.
        counts = self._bounds[places + (self._words[places] == asked)] - starts
        # Where the postings of all asked words are, one word's after the other's.
        positions = (starts - counts.cumsum() + counts).repeat(counts)
        positions += np.arange(len(positions))
        weights = self._weights[positions]
        weights *= np.fromiter(times.values(), np.float64, len(times)).repeat(counts)
        return np.bincount(self._items[positions], weights, self.size).astype(np.float64, copy=False)


class BM25:
    """The `k` items that answer a query best, by BM25; ties keep the profile's order.

    The index of a user asked lately is kept (`cached_profiles` of them, a few hundred kilobytes each
    for 185 items of 100 words). It is found by the documents themselves, so a changed history is a
    new one and no user can be given another's.
    """

    def __init__(self, k: int, *, cached_profiles: int = 256) -> None:
        self.k = k
        self._index = functools.lru_cache(maxsize=cached_profiles)(BM25Index)

    def context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Context]:
        """Return each query's best items of its own profile, best first."""
        return [self._choose(query, profile) for query, profile in zip(queries, profiles, strict=True)]

    def forget(self) -> None:
        """Drop every index, and with it every user's text."""
        self._index.cache_clear()

    def _choose(self, query: Query, profile: Profile) -> Context:
        index = self._index(tuple([item.document for item in profile.items]))
        order = (-index.scores(query.search_text)).argsort(kind="stable")[: self.k]
        return Context(items=tuple([profile.items[place] for place in order.tolist()]))


def _starts_of_runs(ordered: NDArray[np.uint64]) -> Counts:
    """Return where each run of equal values begins, shape [runs]."""
    if not len(ordered):
        return np.zeros(0, dtype=np.int64)
    return np.concatenate(([0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1))


def _inverse_document_frequencies(holding: Counts, size: int) -> NDArray[np.float64]:
    """Return the idf of words of which `holding` of `size` documents hold each, shape [words]."""
    table = np.array([math.log(size - n + 0.5) - math.log(n + 0.5) for n in range(size + 1)])
    idf = table[holding]
    if len(idf):
        idf[idf < 0] = EPSILON * idf.mean()
    return idf
