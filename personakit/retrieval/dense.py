"""Dense retrieval: items ranked by the dot product of their embeddings with the query's."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from personakit.records import Context, Profile, Query
from personakit.retrieval.encoders import Encoder, Vectors
from personakit.retrieval.words import digest


class Dense:
    """Returns the `k` items nearest to the query. Ties keep the profile's order.

    The embeddings of the `cached_items` most recently used texts stay in memory (150 MB at 768 dimensions),
    by a digest of the text.
    """

    def __init__(self, k: int, encoder: Encoder, *, cached_items: int = 50_000) -> None:
        self.k = k
        self._encoder = encoder
        self._limit = cached_items
        self._cache: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Context]:
        """Return the best items of each query's profile, best first."""
        pairs = list(zip(queries, profiles, strict=True))
        query_vectors = self._encoder.encode([query.search_text for query, _ in pairs])
        return [
            self._choose(vector, profile) for vector, (_, profile) in zip(query_vectors, pairs, strict=True)
        ]

    def clear_cache(self) -> None:
        """Clear the cache."""
        with self._lock:
            self._cache.clear()

    def _choose(self, query: NDArray[np.float32], profile: Profile) -> Context:
        if not profile.items:
            return Context()
        scores = self._vectors([item.document for item in profile.items]) @ query
        order = np.argsort(-scores, kind="stable")[: self.k]
        return Context(items=tuple([profile.items[place] for place in order.tolist()]))

    def _vectors(self, documents: list[str]) -> Vectors:
        """Return the documents' embeddings, shape [documents, dimensions]. Only uncached ones are encoded."""
        keys = [digest(text) for text in documents]
        distinct = dict(zip(keys, documents, strict=True))
        with self._lock:
            uncached = {key: text for key, text in distinct.items() if key not in self._cache}
            if uncached:
                vectors = self._encoder.encode(list(uncached.values()))
                self._cache.update(zip(uncached, vectors, strict=True))
            for key in distinct:
                self._cache.move_to_end(key)
            found = np.stack([self._cache[key] for key in keys])
            while len(self._cache) > self._limit:
                self._cache.popitem(last=False)
        return found
