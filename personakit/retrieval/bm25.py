"""Okapi BM25 as in LaMP, with one cached index per profile.

Scores equal those of rank_bm25's BM25Okapi (LaMP's rank_profiles.py): k1 1.5, b 0.75, split at whitespace,
no lower-casing, query words counted with multiplicity, and a negative idf (a word in more than half of the
items) replaced by 0.25 times the mean idf over the user's vocabulary.

The implementation differs: rank_bm25 keeps a dictionary per item and looks up each query word in all of
them. Here every (word, item) pair is one integer, a single sort builds the inverted index, and a query
reads only the postings of its own words. benchmarks/retrieval.py compares both.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from personakit.records import Context, Profile, Query
from personakit.retrieval.words import Counts, digest, hash_query_words, hash_words

K1 = 1.5
B = 0.75
EPSILON = 0.25  # a negative idf becomes this share of the mean idf


class BM25Index:
    """An inverted index over one user's documents."""

    def __init__(self, documents: Sequence[str]) -> None:
        words, lengths = hash_words(documents)
        self.size = len(documents)
        self._shift = np.uint64(max(self.size - 1, 1).bit_length())
        # High bits: word; low bits: item. Equal keys belong to one posting.
        keys = words >> self._shift << self._shift
        keys |= np.arange(self.size, dtype=np.uint64).repeat(lengths)
        keys.sort()
        posting_starts = _starts_of_runs(keys)
        postings = keys[posting_starts]
        frequencies = np.diff(posting_starts, append=len(keys))
        posting_words = postings >> self._shift
        word_starts = _starts_of_runs(posting_words)
        # A sentinel that no query contains, so that a search past the last word stays in bounds.
        self._words = np.append(posting_words[word_starts], ~np.uint64(0))
        self._bounds = np.append(word_starts, len(postings))
        document_counts = np.diff(self._bounds)
        self._items = (postings & ((np.uint64(1) << self._shift) - np.uint64(1))).astype(np.int64)
        # K1 (1 - b + b |d| / mean |d|). If every item is empty there are no postings.
        saturation = K1 * (1 - B + B * lengths / (lengths.mean() or 1.0)) if self.size else lengths
        self._weights = frequencies * (K1 + 1) / (frequencies + saturation[self._items])
        self._weights *= _inverse_document_frequencies(document_counts, self.size).repeat(document_counts)

    def scores(self, query: str) -> NDArray[np.float64]:
        """Return the score of each document, shape [documents]."""
        word_counts: dict[str, int] = {}
        for word in query.split():  # faster than a Counter for short queries
            word_counts[word] = word_counts.get(word, 0) + 1
        query_words = hash_query_words(word_counts) >> self._shift
        word_indices = self._words.searchsorted(query_words)
        starts = self._bounds[word_indices]
        # A word outside the vocabulary gets an empty range of postings.
        counts = self._bounds[word_indices + (self._words[word_indices] == query_words)] - starts
        # The positions of the postings of all query words, concatenated.
        positions = (starts - counts.cumsum() + counts).repeat(counts)
        positions += np.arange(len(positions))
        weights = self._weights[positions]
        weights *= np.fromiter(word_counts.values(), np.float64, len(word_counts)).repeat(counts)
        return np.bincount(self._items[positions], weights, self.size).astype(np.float64, copy=False)


class BM25:
    """Returns the `k` best items by BM25. Ties keep the profile's order.

    The indices of the `cached_profiles` most recently used profiles stay in memory (a few hundred kilobytes
    each for 185 items of 100 words). The cache key is a digest of the documents, so a changed profile gets a
    new index, users cannot be mixed up, and nothing in the cache can be read.
    """

    def __init__(self, k: int, *, cached_profiles: int = 256) -> None:
        self.k = k
        self._limit = cached_profiles
        self._cache: OrderedDict[bytes, BM25Index] = OrderedDict()
        self._lock = threading.Lock()

    def context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Context]:
        """Return the best items of each query's profile, best first."""
        return [self._choose(query, profile) for query, profile in zip(queries, profiles, strict=True)]

    def clear_cache(self) -> None:
        """Clear the cache."""
        with self._lock:
            self._cache.clear()

    def _choose(self, query: Query, profile: Profile) -> Context:
        index = self._index([item.document for item in profile.items])
        order = (-index.scores(query.search_text)).argsort(kind="stable")[: self.k]
        return Context(items=tuple([profile.items[place] for place in order.tolist()]))

    def _index(self, documents: list[str]) -> BM25Index:
        key = digest(*documents)
        with self._lock:
            index = self._cache.pop(key, None)
        index = index or BM25Index(documents)
        with self._lock:
            self._cache[key] = index
            if len(self._cache) > self._limit:
                self._cache.popitem(last=False)
        return index


def _starts_of_runs(ordered: NDArray[np.uint64]) -> Counts:
    """Return where each run of equal values starts, shape [runs]."""
    if not len(ordered):
        return np.zeros(0, dtype=np.int64)
    return np.concatenate(([0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1))


def _inverse_document_frequencies(document_counts: Counts, size: int) -> NDArray[np.float64]:
    """Return each word's idf, shape [words]; `holding` counts the documents that contain it."""
    table = np.array([math.log(size - n + 0.5) - math.log(n + 0.5) for n in range(size + 1)])
    idf = table[document_counts]
    if len(idf):
        idf[idf < 0] = EPSILON * idf.mean()
    return idf
