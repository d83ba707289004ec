"""What a summary does to a user's held-out pairs: as a whole, and phrase by phrase.

The margin is that of training, `beta (log pi(y|x, z) - log ref(y|x))` of the preferred answer less that of
the other; what a phrase is worth is how much of the mean margin goes when it is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from personakit.popi.inferring import GivenSummaries
from personakit.popi.opening import LoadedPOPI
from personakit.records import PreferencePair, Profile, Query

_BREAKS = re.compile(r"[^.;,\n]*[.;,\n]+\s*|[^.;,\n]+$")


@dataclass(frozen=True, slots=True)
class Effect:
    """On a user's held-out pairs: the mean margin, the share that is right, the gain in bits (0: none)."""

    margin: float
    accuracy: float
    bits: float


@dataclass(frozen=True, slots=True)
class Phrase:
    """A part of a summary, and what it is worth: how far the mean margin falls without it."""

    text: str
    worth: float


def effects(opened: LoadedPOPI, pairs: Sequence[PreferencePair], summaries: Sequence[str]) -> list[Effect]:
    """Return what each of these summaries does to the pairs of one user; "" is no summary."""
    found = []
    for margins in _margins(opened, pairs, summaries):
        right = fmean(0.5 if margin == 0 else float(margin > 0) for margin in margins)
        found.append(Effect(fmean(margins), right, 1 - fmean(map(_loss, margins)) / math.log(2)))
    return found


def _loss(margin: float) -> float:
    """-log sigmoid(margin), in nats, for margins of any size."""
    return max(0.0, -margin) + math.log1p(math.exp(-abs(margin)))


def worth_of_phrases(opened: LoadedPOPI, pairs: Sequence[PreferencePair], summary: str) -> list[Phrase]:
    """Return the phrases of a summary, each with its worth on the pairs of its user."""
    parts = phrases(summary)
    without = [
        "".join(part for other, part in enumerate(parts) if other != place) for place in range(len(parts))
    ]
    whole, *rest = (fmean(margins) for margins in _margins(opened, pairs, [summary, *without]))
    return [Phrase(part.strip(), whole - left) for part, left in zip(parts, rest, strict=True)]


def phrases(summary: str) -> list[str]:
    """Cut a summary at its punctuation, or between words where it has none; joined, it is the summary."""
    parts = [part for part in _BREAKS.findall(summary.strip()) if part]
    return parts if len(parts) > 1 else re.findall(r"\S+\s*", summary.strip())


def _margins(
    opened: LoadedPOPI, pairs: Sequence[PreferencePair], summaries: Sequence[str]
) -> list[list[float]]:
    """The margins of all pairs under each summary, [summaries][pairs], in one call of each model."""
    given: Mapping[str, str] = {str(place): summary for place, summary in enumerate(summaries)}
    judged = opened.judged_with(GivenSummaries(given))
    queries, profiles, texts = [], [], []
    for place in given:
        for pair in pairs:
            request = opened.wording.request(pair.prompt)
            for answer in (pair.chosen, pair.rejected):
                queries.append(Query("", "", request, pair.prompt, place))
                profiles.append(Profile(place, ()))
                texts.append(answer)
    ours = judged.policy.score(queries, profiles, texts)
    count = 2 * len(pairs)
    before = judged.reference.score(queries[:count], profiles[:count], texts[:count])
    gained = [judged.beta * (ours[place] - before[place % count]) for place in range(len(ours))]
    rows = [chosen - rejected for chosen, rejected in zip(gained[::2], gained[1::2], strict=True)]
    return [rows[start : start + len(pairs)] for start in range(0, len(rows), len(pairs))]
