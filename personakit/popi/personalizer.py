"""POPI's Personalizer: a summary inferred once per user, and a generator that answers given the summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from personakit.popi.answering import PreparedPrompt, PromptPersonalizer, dropped_trace
from personakit.popi.inferring import SummarySource
from personakit.records import Context, Profile, Query
from personakit.tasks.signals import SignalWording, with_summary

NO_HISTORY = "no history: the answer is the one without a summary"


@dataclass
class SummaryPersonalizer(PromptPersonalizer):
    """Answers given the query and the user's summary, if there is one.

    `model` is POPI's generator or any other model. The tokens of inferring a summary are counted once, with
    the user's first answer.
    """

    provider: SummarySource
    wording: SignalWording

    def prepare(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[PreparedPrompt]:
        """Return each query below its user's summary."""
        distinct = list({id(profile): profile for profile in profiles}.values())
        summaries = dict(zip(map(id, distinct), self.provider.summaries(distinct), strict=True))
        counted: set[tuple[str, str]] = set()
        prepared = []
        for query, profile in zip(queries, profiles, strict=True):
            summary = summaries[id(profile)]
            key = (profile.user_id, summary.text)
            prepared.append(
                PreparedPrompt(
                    with_summary(query.text, summary.text, wording=self.wording),
                    Context(summary=summary.text or None),
                    ({"summary": summary.text} if summary.text else {}) | dropped_trace(summary.dropped),
                    tokens=0 if key in counted else summary.tokens,
                    degraded=None if summary.text or summary.error else NO_HISTORY,
                    error=summary.error,
                )
            )
            counted.add(key)
        return prepared
