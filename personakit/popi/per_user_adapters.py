"""One LoRA adapter per user as a baseline of POPI, trained during evaluation and then discarded."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from personakit.data.preferences.profiles import as_signals
from personakit.models.refusal import answer_marks
from personakit.models.stopwatch import working_time
from personakit.popi.per_user_lora import PerUserLora, UserCost
from personakit.records import Answer, PreferencePair, Profile, Query

COST = "adapter"
"""Name of the trace entry with an adapter's cost."""
_NONE = "none: no signal pairs"


class PerUserAdapters:
    """Scores and answers with an adapter trained on the user's signal pairs; without pairs, with the base.

    A user's queries must be adjacent, otherwise the adapter is trained again. `report_context` reports the
    cost of an adapter after its first use.
    """

    def __init__(self, adapters: PerUserLora, *, max_new_tokens: int) -> None:
        self.adapters = adapters
        self.max_new_tokens = max_new_tokens
        self._trained_pairs: tuple[PreferencePair, ...] | None = None
        self._costs: dict[str, UserCost] = {}

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return log p(text | query) under each user's adapter, in nats."""
        scores: list[float] = []
        for places, trained in self._train_by_user(profiles):
            score = self.adapters.score if trained else self.adapters.reference
            scores += score([queries[place].text for place in places], [texts[place] for place in places])
        return scores

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return one answer per query."""
        answers: list[Answer] = []
        for places, trained in self._train_by_user(profiles):
            started = working_time()
            texts = self.adapters.generate(
                [queries[place].text for place in places], max_new_tokens=self.max_new_tokens, adapted=trained
            )
            seconds = (working_time() - started) / len(places)
            answers += [Answer(text.strip(), seconds=seconds, **answer_marks(text)) for text in texts]
        return answers

    def report_context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return empty contexts with the cost of the user's adapter in the trace."""
        return [Answer("", trace={COST: self._cost(profile.user_id)}) for profile in profiles]

    def _cost(self, user_id: str) -> str:
        cost = self._costs.get(user_id)
        return _NONE if cost is None else f"{cost.bytes} bytes, {cost.tokens} training tokens"

    def _train_by_user(self, profiles: Sequence[Profile]) -> Iterator[tuple[list[int], bool]]:
        """Train each user's adapter; yield the indices of the user's queries, and whether there is one."""
        for user_id, group in itertools.groupby(enumerate(profiles), key=lambda each: each[1].user_id):
            own = [place for place, _ in group]
            pairs = as_signals(profiles[own[0]]).pairs
            if pairs and pairs != self._trained_pairs:
                self._costs[user_id] = self.adapters.fit(pairs)
                self._trained_pairs = pairs
            yield own, bool(pairs)


class WithoutAdapter:
    """The same base model without an adapter: the reference of `PerUserAdapters`."""

    def __init__(self, adapters: PerUserLora) -> None:
        self.adapters = adapters

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Raise `NotImplementedError`: a reference only scores."""
        raise NotImplementedError

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return log p(text | query) under the base, in nats."""
        return self.adapters.reference([query.text for query in queries], texts)
