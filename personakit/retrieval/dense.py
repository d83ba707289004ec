"""Dense retrieval: the items whose vectors have the largest dot product with the query's."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from personakit.records import Context, Profile, Query
from personakit.retrieval.encoders import Encoder, Vectors


class Dense:
    """The `k` items nearest to a query; ties keep the profile's order.

    Items' vectors are kept in memory by their text, the `cached_items` used last (150 MB at width
    768): a user asked again, or an item in several profiles, is encoded once.
    """

    def __init__(self, k: int, encoder: Encoder, *, cached_items: int = 50_000) -> None:
        self.k = k
        self._encoder = encoder
        self._limit = cached_items
        self._cache: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Context]:
        """Return each query's best items of its own profile, best first."""
        pairs = list(zip(queries, profiles, strict=True))
        asked = self._encoder.encode([query.search_text for query, _ in pairs])
        return [self._choose(vector, profile) for vector, (_, profile) in zip(asked, pairs, strict=True)]

    def forget(self) -> None:
        """Drop every vector and the text it was made from."""
        with self._lock:
            self._cache.clear()

    def _choose(self, query: NDArray[np.float32], profile: Profile) -> Context:
        if not profile.items:
            return Context()
        scores = self._vectors([item.document for item in profile.items]) @ query
        order = np.argsort(-scores, kind="stable")[: self.k]
        return Context(items=tuple([profile.items[place] for place in order.tolist()]))

    def _vectors(self, documents: list[str]) -> Vectors:
        """Return the documents' vectors, shape [documents, width], encoding only those not kept."""
        with self._lock:
            wanted = dict.fromkeys(documents)
            unseen = [text for text in wanted if text not in self._cache]
            if unseen:
                self._cache.update(zip(unseen, self._encoder.encode(unseen), strict=True))
            for text in wanted:
                self._cache.move_to_end(text)
            vectors = np.stack([self._cache[text] for text in documents])
            while len(self._cache) > self._limit:
                self._cache.popitem(last=False)
        return vectors
