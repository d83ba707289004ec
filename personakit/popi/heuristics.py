"""What needs no language model: pairs told apart by length, or by the words that a persona prefers.

Where such a row comes near a method's, the data is easier than it looks. Neither can write an answer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from personakit.data.preferences.profiles import as_signals
from personakit.errors import UserError
from personakit.records import Answer, PreferencePair, PreferenceUser, Profile, Query


class _ScoresAlone:
    """A Personalizer that prefers answers and writes none; nobody is told anything."""

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Raise `UserError`: there is no model behind it."""
        raise UserError(
            f"the row {type(self).__name__} writes no answers: no model is behind it",
            hint="leave it out where answers are judged",
        )

    def told(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return that a model is told nothing."""
        return [Answer("") for _ in queries]


class Indifferent(_ScoresAlone):
    """Likes all answers alike: the reference of the rows below."""

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return nothing but zeros."""
        return [0.0] * len(texts)


class LengthAlone(_ScoresAlone):
    """Prefers the longer answer, or the shorter one, as the user did in most of their signal pairs."""

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return the number of words, positive for users of long answers; 0 for the undecided."""
        taste = {
            profile.user_id: _taste(as_signals(profile).pairs)
            for profile in {id(each): each for each in profiles}.values()
        }
        return [
            float(taste[profile.user_id] * len(text.split()))
            for profile, text in zip(profiles, texts, strict=True)
        ]


@dataclass(frozen=True)
class PersonaLookup(_ScoresAlone):
    """Prefers the words that users of the same persona prefer in training: all that a persona can tell.

    `odds` maps a persona to the log-odds of each word, preferred against not; `personas` a user to theirs.
    """

    odds: Mapping[str, Mapping[str, float]]
    personas: Mapping[str, str]

    @classmethod
    def from_users(cls, trained: Iterable[PreferenceUser], personas: Mapping[str, str]) -> PersonaLookup:
        """Count words in the pairs of training users, by persona; each word once an answer."""
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
        """Return the sum of log-odds of an answer's words; 0 for a persona that training has not met."""
        return [
            sum(odds.get(word, 0.0) for word in set(_words(text)))
            for query, text in zip(queries, texts, strict=True)
            for odds in [self.odds.get(self.personas.get(query.user_id, ""), {})]
        ]


def _taste(pairs: Sequence[PreferencePair]) -> int:
    longer = sum(
        (len(pair.chosen.split()) > len(pair.rejected.split()))
        - (len(pair.chosen.split()) < len(pair.rejected.split()))
        for pair in pairs
    )
    return (longer > 0) - (longer < 0)


def _words(text: str) -> list[str]:
    return [word.strip(".,;:!?\"'()[]").casefold() for word in text.split()]
