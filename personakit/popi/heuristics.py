"""Baselines without a language model: preferences by answer length, or by the words a persona prefers.

If such a baseline is close to a method, the data is easier than it looks. They cannot generate answers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from personakit.data.preferences.profiles import as_signals
from personakit.errors import UserError
from personakit.records import Answer, PreferencePair, PreferenceUser, Profile, Query


class _ScoreOnlyBaseline:
    """A Personalizer that scores answers but cannot generate them."""

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Raise `UserError`: there is no model."""
        raise UserError(
            f"the baseline {type(self).__name__} has no model and generates no answers",
            hint="omit its row when answers are judged",
        )

    def report_context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return empty contexts."""
        return [Answer("") for _ in queries]


class ConstantScore(_ScoreOnlyBaseline):
    """Scores all answers 0: the reference of the baselines below."""

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return zeros."""
        return [0.0] * len(texts)


class LengthBaseline(_ScoreOnlyBaseline):
    """Prefers longer or shorter answers, as the user did in most of their signal pairs."""

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return the number of words: positive for users who prefer long answers, negative for short."""
        signs = {
            profile.user_id: _length_preference(as_signals(profile).pairs)
            for profile in {id(each): each for each in profiles}.values()
        }
        return [
            float(signs[profile.user_id] * len(text.split()))
            for profile, text in zip(profiles, texts, strict=True)
        ]


@dataclass(frozen=True)
class PersonaBaseline(_ScoreOnlyBaseline):
    """Prefers the words that users with the same persona prefer in the training data.

    `odds` maps a persona to each word's log-odds of being in the chosen answer; `personas` maps user ids to
    personas.
    """

    odds: Mapping[str, Mapping[str, float]]
    personas: Mapping[str, str]

    @classmethod
    def from_users(cls, trained: Iterable[PreferenceUser], personas: Mapping[str, str]) -> PersonaBaseline:
        """Count the words in the training users' pairs by persona, each word once per answer."""
        counts: dict[str, tuple[Counter[str], Counter[str]]] = {}
        for user in trained:
            if user.persona is None:
                continue
            preferred, other = counts.setdefault(user.persona, (Counter(), Counter()))
            for pair in (*user.pairs, *user.signals.pairs):
                preferred.update(set(_words(pair.chosen)))
                other.update(set(_words(pair.rejected)))
        odds = {
            persona: {
                word: math.log((preferred[word] + 1) / (other[word] + 1)) for word in {*preferred, *other}
            }
            for persona, (preferred, other) in counts.items()
        }
        return cls(odds, personas)

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return the sum of the log-odds of an answer's words; 0 for a persona not in the training data."""
        return [
            sum(odds.get(word, 0.0) for word in set(_words(text)))
            for query, text in zip(queries, texts, strict=True)
            for odds in [self.odds.get(self.personas.get(query.user_id, ""), {})]
        ]


def _length_preference(pairs: Sequence[PreferencePair]) -> int:
    """Return 1 if most chosen answers are the longer ones, -1 if the shorter ones, 0 for a tie."""
    longer = sum(
        (len(pair.chosen.split()) > len(pair.rejected.split()))
        - (len(pair.chosen.split()) < len(pair.rejected.split()))
        for pair in pairs
    )
    return (longer > 0) - (longer < 0)


def _words(text: str) -> list[str]:
    return [word.strip(".,;:!?\"'()[]").casefold() for word in text.split()]
