"""POPI's Personalizer: a summary inferred once for a user, and a generator that answers from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from personakit.popi.answering import FromPrompts, Prepared, left_out
from personakit.popi.inferring import Summaries
from personakit.records import Context, Profile, Query
from personakit.tasks.signals import SignalWording, with_summary

NO_HISTORY = "no history: the answer is the one without a summary"


@dataclass
class Summarised(FromPrompts):
    """Answers from the request and the user's summary, or from the request alone where there is none.

    `model` is POPI's generator, or any other: then these are a frozen model's answers with a summary. A
    summary's own call counts, in tokens, with the first of the user's answers: it is made once.
    """

    provider: Summaries
    wording: SignalWording

    def prepare(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Prepared]:
        """Return each request below its user's summary."""
        distinct = list({id(profile): profile for profile in profiles}.values())
        summaries = dict(zip(map(id, distinct), self.provider.summaries(distinct), strict=True))
        paid: set[tuple[str, str]] = set()
        prepared = []
        for query, profile in zip(queries, profiles, strict=True):
            summary = summaries[id(profile)]
            payer = (profile.user_id, summary.text)
            prepared.append(
                Prepared(
                    with_summary(query.text, summary.text, wording=self.wording),
                    Context(summary=summary.text or None),
                    ({"summary": summary.text} if summary.text else {}) | left_out(summary.dropped),
                    tokens=0 if payer in paid else summary.tokens,
                    degraded=None if summary.text else NO_HISTORY,
                )
            )
            paid.add(payer)
        return prepared
