"""The effect of a summary on a user's held-out pairs: in total, and of each phrase.

The margin is that of training: `beta (log pi(y|x, z) - log ref(y|x))` of the chosen answer minus that of the
rejected one. A phrase's worth is the decrease of the mean margin without it.
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
    """On a user's held-out pairs: mean margin in nats, accuracy, and gain in bits over guessing."""

    margin: float
    accuracy: float
    bits: float


@dataclass(frozen=True, slots=True)
class Phrase:
    """A part of a summary, and its worth: the decrease of the mean margin, in nats, without it."""

    text: str
    worth: float


def effects(opened: LoadedPOPI, pairs: Sequence[PreferencePair], summaries: Sequence[str]) -> list[Effect]:
    """Return the effect of each summary on the pairs of one user; "" is no summary."""
    found = []
    for margins in _margins(opened, pairs, summaries):
        accuracy = fmean(0.5 if margin == 0 else float(margin > 0) for margin in margins)
        found.append(Effect(fmean(margins), accuracy, 1 - fmean(map(_loss, margins)) / math.log(2)))
    return found


def _loss(margin: float) -> float:
    """Return -log sigmoid(margin) in nats, numerically stable."""
    return max(0.0, -margin) + math.log1p(math.exp(-abs(margin)))


def phrase_effects(opened: LoadedPOPI, pairs: Sequence[PreferencePair], summary: str) -> list[Phrase]:
    """Return the phrases of a summary with their worth on the user's pairs."""
    parts = phrases(summary)
    without = [
        "".join(part for other, part in enumerate(parts) if other != place) for place in range(len(parts))
    ]
    full, *reduced = (fmean(margins) for margins in _margins(opened, pairs, [summary, *without]))
    return [Phrase(part.strip(), full - margin) for part, margin in zip(parts, reduced, strict=True)]


def phrases(summary: str) -> list[str]:
    """Split a summary at its punctuation, or into words if it has none. The parts join to the summary."""
    parts = [part for part in _BREAKS.findall(summary.strip()) if part]
    return parts if len(parts) > 1 else re.findall(r"\S+\s*", summary.strip())


def _margins(
    opened: LoadedPOPI, pairs: Sequence[PreferencePair], summaries: Sequence[str]
) -> list[list[float]]:
    """Return the margins of all pairs for each summary, [summaries][pairs], with one call of each model."""
    # Each summary gets a user id of its own.
    given: Mapping[str, str] = {str(place): summary for place, summary in enumerate(summaries)}
    row = opened.row_with_summaries(GivenSummaries(given))
    queries, profiles, texts = [], [], []
    for place in given:
        for pair in pairs:
            request = opened.wording.request(pair.prompt)
            for answer in (pair.chosen, pair.rejected):
                queries.append(Query("", "", request, pair.prompt, place))
                profiles.append(Profile(place, ()))
                texts.append(answer)
    policy = row.policy.score(queries, profiles, texts)
    count = 2 * len(pairs)
    reference = row.reference.score(queries[:count], profiles[:count], texts[:count])
    rewards = [row.beta * (policy[place] - reference[place % count]) for place in range(len(policy))]
    margins = [chosen - rejected for chosen, rejected in zip(rewards[::2], rewards[1::2], strict=True)]
    return [margins[start : start + len(pairs)] for start in range(0, len(margins), len(pairs))]
