"""The matching network as a retriever of items from the user's history (`ContextProvider`).

Like a retriever it sees the query's search text and the items' documents, of one user at a time, and not the
answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from personakit.data.lamp_formats import item_output
from personakit.pillow.encoding import FingerprintedEncoder, instruction_text
from personakit.pillow.network import MatchingNetwork
from personakit.pillow.policy import draw
from personakit.records import Context, Instruction, Pool, Profile, ProfileItem, Query

_BATCH = 64


def query_prompt(query: Query) -> Instruction:
    """Return a query as an instruction; without a gold answer its output is empty."""
    return Instruction(query.id, query.search_text, "", query.gold or "", query.task)


def item_pool(task: str, items: Iterable[ProfileItem]) -> Pool:
    """Return a history as a pool, in the same order."""
    return Pool.of(Instruction(item.id, item.document, "", item_output(task, item), task) for item in items)


class HistoryMatcher:
    """Retrieves `k` items with a trained matching network: a `ContextProvider`."""

    def __init__(self, network: MatchingNetwork, encoder: FingerprintedEncoder, k: int) -> None:
        """`network` must be trained on histories, with the vectors of `encoder`."""
        self._network, self._encoder, self.k = network.eval(), encoder, k

    def context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Context]:
        """Return the best items of each query's profile, best first."""
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
        query_vectors = torch.from_numpy(
            self._encoder.encode([instruction_text(query_prompt(query)) for query, _ in pairs])
        )
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
            [selections] = draw(self._network, query_vectors[row : row + 1], own, allowed, m=m).tolist()
            contexts.append(Context(items=tuple(profile.items[at] for at in selections if at >= 0)))
        return contexts
