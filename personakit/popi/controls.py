"""Controls of summaries: the raw signals in the prompt, in full or truncated to a summary's length.

The other controls are `SummaryPersonalizer` with other summaries: by the untrained base model, of another
user, or the persona's description. All of them word queries as POPI does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from personakit.data.preferences.profiles import as_signals
from personakit.popi.answering import PreparedPrompt, PromptPersonalizer, dropped_trace
from personakit.records import Context, Profile, Query
from personakit.retrieval.bm25 import BM25
from personakit.tasks.signals import SignalWording, with_signals

Order = Literal["recent", "bm25"]


@dataclass
class Unpersonalised(PromptPersonalizer):
    """Answers without a context: the base model, or a generator trained on all users' preferences."""

    def prepare(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[PreparedPrompt]:
        """Return the queries as prompts."""
        return [PreparedPrompt(query.text) for query in queries]


@dataclass
class RawSignals(PromptPersonalizer):
    """Answers with the user's raw signals in the prompt.

    Signals are limited to `budget` tokens. Whole signals are dropped by `order`: the oldest first, or those
    with the lowest BM25 score first. Texts (comments, lines about the user) are dropped last.
    """

    wording: SignalWording
    budget: int
    order: Order = "recent"

    def prepare(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[PreparedPrompt]:
        """Return each query below as many of the user's signals as fit."""
        count = self.model.count_tokens
        prepared = []
        for query, profile in zip(queries, profiles, strict=True):
            chosen = profile if self.order == "recent" else _ranked(query, profile)
            prompt, dropped = with_signals(
                query.text,
                as_signals(chosen),
                count_tokens=count,
                max_length=count(query.text) + self.budget,
                newest_last=self.order == "recent",
                wording=self.wording,
            )
            shown = profile.items if prompt != query.text else ()
            prepared.append(PreparedPrompt(prompt, Context(items=shown), dropped_trace(dropped)))
        return prepared


def _ranked(query: Query, profile: Profile) -> Profile:
    """Return the profile with its items ranked by BM25 against the query, best first."""
    [ranked] = BM25(max(1, len(profile.items))).context([query], [profile])
    return Profile(profile.user_id, ranked.items)
