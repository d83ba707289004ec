"""Picking items of a user's own history: the matching network where BM25 stands (`ContextProvider`).

The network sees what retrieval sees, a query's search text and an item's document, of one user at a time.
In training a selection earns what it does for the answer; here nothing is known of the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from personakit.data.lamp_formats import item_output
from personakit.pillow.encoding import KnownEncoder, question
from personakit.pillow.network import MatchingNetwork
from personakit.pillow.policy import draw
from personakit.records import Context, Instruction, Pool, Profile, ProfileItem, Query

_BATCH = 64


def query_prompt(query: Query) -> Instruction:
    """Return a query as the network sees it; one without a gold has an empty answer."""
    return Instruction(query.id, query.search_text, "", query.gold or "", query.task)


def item_pool(task: str, items: Iterable[ProfileItem]) -> Pool:
    """Return a history as the network sees it, in its order."""
    return Pool.of(Instruction(item.id, item.document, "", item_output(task, item), task) for item in items)


class HistoryMatcher:
    """The `k` items that a trained network matches, best first: a `ContextProvider`."""

    def __init__(self, network: MatchingNetwork, encoder: KnownEncoder, k: int) -> None:
        """Take a network that was trained on histories, and the encoder whose vectors it knows."""
        self._network, self._encoder, self.k = network.eval(), encoder, k

    def context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Context]:
        """Return each query's best items of its own profile, best first."""
        pairs = list(zip(queries, profiles, strict=True))
        contexts: list[Context] = []
        for start in range(0, len(pairs), _BATCH):
            contexts += self._choose(pairs[start : start + _BATCH])
        return contexts

    def _choose(self, pairs: Sequence[tuple[Query, Profile]]) -> list[Context]:
        texts = list(dict.fromkeys(item.document for _, profile in pairs for item in profile.items))
        if not texts:
            return [Context() for _ in pairs]
        place = {text: number for number, text in enumerate(texts)}
        asked = torch.from_numpy(self._encoder.encode([question(query_prompt(query)) for query, _ in pairs]))
        vectors = torch.from_numpy(self._encoder.encode(texts))
        contexts = []
        for row, (_, profile) in enumerate(pairs):
            columns = [place[item.document] for item in profile.items]
            if not columns:
                contexts.append(Context())
                continue
            with torch.inference_mode():
                own = self._network.pool(vectors[columns])
            allowed = torch.ones(1, len(columns), dtype=torch.bool)
            m = min(self.k, len(columns))
            [picks] = draw(self._network, asked[row : row + 1], own, allowed, m=m).tolist()
            contexts.append(Context(items=tuple(profile.items[at] for at in picks if at >= 0)))
        return contexts
