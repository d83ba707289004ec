"""One LoRA adapter a user as a row beside POPI: trained when the user's turn comes, gone with the next."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence

from personakit.data.preferences.profiles import as_signals
from personakit.popi.per_user_lora import PerUserLora, UserCost
from personakit.records import Answer, PreferencePair, Profile, Query

COST = "adapter"
"""The name of the trace that says what an adapter took."""
_NONE = "none: no signal pairs"


class AdapterAUser:
    """Scores and answers with an adapter trained on the user's own signal pairs, or the base without.

    Queries of a user stand next to each other, or the adapter is trained again. `told` knows what an adapter
    took once it has been used.
    """

    def __init__(self, adapters: PerUserLora, *, max_new_tokens: int) -> None:
        self.adapters = adapters
        self.max_new_tokens = max_new_tokens
        self._on: tuple[PreferencePair, ...] | None = None
        self._costs: dict[str, UserCost] = {}

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return log p(text | query) under each user's adapter, in nats."""
        scores: list[float] = []
        for places, trained in self._users(profiles):
            score = self.adapters.score if trained else self.adapters.reference
            scores += score([queries[place].text for place in places], [texts[place] for place in places])
        return scores

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return one answer a query."""
        answers: list[Answer] = []
        for places, trained in self._users(profiles):
            started = time.perf_counter()
            texts = self.adapters.generate(
                [queries[place].text for place in places], max_new_tokens=self.max_new_tokens, adapted=trained
            )
            seconds = (time.perf_counter() - started) / len(places)
            answers += [Answer(text.strip(), seconds=seconds) for text in texts]
        return answers

    def told(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return what the model is told of the user, nothing, and what their adapter took."""
        return [Answer("", trace={COST: self._told(profile.user_id)}) for profile in profiles]

    def _told(self, user_id: str) -> str:
        cost = self._costs.get(user_id)
        return _NONE if cost is None else f"{cost.bytes} bytes, {cost.tokens} training tokens"

    def _users(self, profiles: Sequence[Profile]) -> Iterator[tuple[list[int], bool]]:
        """Yield the places of each user's queries, their adapter trained, and whether there is one."""
        for user_id, group in itertools.groupby(enumerate(profiles), key=lambda each: each[1].user_id):
            own = [place for place, _ in group]
            pairs = as_signals(profiles[own[0]]).pairs
            if pairs and pairs != self._on:
                self._costs[user_id] = self.adapters.fit(pairs)
                self._on = pairs
            yield own, bool(pairs)


class WithoutAdapter:
    """The same base without an adapter: the reference of the rows above."""

    def __init__(self, adapters: PerUserLora) -> None:
        self.adapters = adapters

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Raise: a reference scores."""
        raise NotImplementedError

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return log p(text | query) under the base, in nats."""
        return self.adapters.reference([query.text for query in queries], texts)
