"""What a summary is measured against: the signals themselves in the prompt, in full or cut to its length.

The other controls are `Summarised` too: with summaries that the base was asked for, that another user has, or
that say the persona in words. All of them word requests as POPI does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from personakit.data.preferences.profiles import as_signals
from personakit.popi.answering import FromPrompts, Prepared, left_out
from personakit.records import Context, Profile, Query
from personakit.retrieval.bm25 import BM25
from personakit.tasks.signals import SignalWording, with_signals

Order = Literal["recent", "bm25"]


@dataclass
class Unpersonalised(FromPrompts):
    """Answers the request alone: the base as it is, or a generator trained on everybody's preferences."""

    def prepare(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Prepared]:
        """Return the requests as they are."""
        return [Prepared(query.text) for query in queries]


@dataclass
class RawSignals(FromPrompts):
    """Answers with a user's signals in the prompt, as they are.

    `budget` is how many tokens they may take; signals are dropped whole to fit, by `order`: the oldest
    first, or those first that share the least with the request. What is said in words (comments, lines
    about the user) is dropped last.
    """

    wording: SignalWording
    budget: int
    order: Order = "recent"

    def prepare(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Prepared]:
        """Return each request below as much of the user's signals as fits."""
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
            prepared.append(Prepared(prompt, Context(items=shown), left_out(dropped)))
        return prepared


def _ranked(query: Query, profile: Profile) -> Profile:
    """The profile's items, those first that share the most with the request."""
    [ranked] = BM25(max(1, len(profile.items))).context([query], [profile])
    return Profile(profile.user_id, ranked.items)
