"""Held-out pairs as samples: does a model favour what this user preferred, and by how much?

The implicit reward of an answer is `beta (log p(y|x, context) - log ref(y|x))`, summed over its tokens, and a
pair is right where the preferred answer's is the higher; ties count half (AlignX, eval/loss_ica.py, which
has `beta` 0.1). It stands under two references (docs/methods.md): `ref(y|x)`, which is not told of the user,
and AlignX's, the same model given the same context as the one that is judged. A model that is not trained
has nothing but ties under the second.

A pair's gain in bits is `1 + log2 sigmoid(margin)`: what knowing the answer's margin saves of the one bit
that a toss of a coin costs. Differences of it between rows are differences of cross-entropy.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, overload

from personakit.contracts import Personalizer
from personakit.errors import UserError
from personakit.evaluation.candidates import profile_for
from personakit.evaluation.measurements import TaskFacts
from personakit.evaluation.runner import Answering, Batch
from personakit.evaluation.samples import Sample, readable_context
from personakit.records import Answer, Example, PreferencePair, PreferenceUser, Profile, Query

TASK = "preference"
ACCURACY, SAME_CONTEXT, BITS = "accuracy", "accuracy, same context", "bits"
FACTS = TaskFacts((ACCURACY, SAME_CONTEXT, BITS))


class Told(Personalizer, Protocol):
    """A Personalizer that can say what its model is told without answering."""

    def told(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return answers without texts: context, trace and tokens."""
        ...


class Contender(Protocol):
    """One row: who is judged, and the two references; `start` is `policy` where nothing was trained."""

    policy: Told
    reference: Personalizer
    start: Personalizer
    beta: float


class PreferencePairs(Sequence[Example]):
    """The held-out pairs of some users as examples: query, the user's signals as profile, the gold preferred.

    `rejected` has the other answer of each. `traits` gives the persona, so that a wrong user is one who
    wants something else, where personas are known.
    """

    def __init__(self, users: Sequence[tuple[PreferenceUser, Profile, Sequence[tuple[Query, str]]]]) -> None:
        self._examples: list[Example] = []
        self.rejected: list[str] = []
        self._personas: dict[str, str] = {}
        for user, profile, asked in users:
            for query, rejected in asked:
                self._examples.append(Example(query, profile))
                self.rejected.append(rejected)
                if user.persona is not None:
                    self._personas[query.id] = user.persona

    def __len__(self) -> int:
        return len(self._examples)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        return self._examples[index]

    def first_of_each_user(self) -> PreferencePairs:
        """Return the first pair of each user."""
        first: dict[str, int] = {}
        for place, example in enumerate(self._examples):
            first.setdefault(example.query.user_id, place)
        chosen = object.__new__(PreferencePairs)
        chosen._examples = [self._examples[place] for place in first.values()]
        chosen.rejected = [self.rejected[place] for place in first.values()]
        chosen._personas = self._personas
        return chosen

    def traits(self, query_id: str) -> Mapping[str, Any] | None:
        """Return what tells users' tastes apart."""
        persona = self._personas.get(query_id)
        return None if persona is None else {"traits": _parts(persona)}


def _parts(persona: str) -> dict[str, str]:
    """A persona of several clauses as traits: the more of them differ, the better a wrong user."""
    return {f"clause {number}": part.strip() for number, part in enumerate(persona.split(";"))}


def query_id(pair: PreferencePair, number: int) -> str:
    """Return the id of a user's held-out pair, numbered from 1."""
    return f"{pair.user_id}/{number}"


def weighing(pairs: PreferencePairs) -> Answering:
    """Return what makes a batch of pairs into samples, for `runner.run_passes`."""

    def weigh(
        batch: Batch, contender: Contender, examples: Sequence[Example], others: Sequence[int] | None
    ) -> list[Sample]:
        places = range(batch.start, batch.stop)
        own = [examples[place] for place in places]
        profiles = [
            profile_for(batch.candidate, example, examples[others[place]] if others else None)
            for place, example in zip(places, own, strict=True)
        ]
        queries = [example.query for example in own]
        texts = [
            (example.query.gold or "", pairs.rejected[place])
            for place, example in zip(places, own, strict=True)
        ]
        started = time.perf_counter()
        policy = _differences(contender.policy, queries, profiles, texts)
        told = contender.policy.told(queries, profiles)
        reference = _differences(contender.reference, queries, profiles, texts)
        start = (
            policy
            if contender.start is contender.policy
            else _differences(contender.start, queries, profiles, texts)
        )
        seconds = (time.perf_counter() - started) / len(own)
        return [
            _sample(
                batch,
                example,
                profile,
                answer,
                texts=pair,
                margin=contender.beta * (ours - theirs),
                same_context=contender.beta * (ours - before),
                seconds=seconds,
            )
            for example, profile, answer, pair, ours, theirs, before in zip(
                own, profiles, told, texts, policy, reference, start, strict=True
            )
        ]

    return weigh


def accuracy(margin: float) -> float:
    """Return 1 where the preferred answer is favoured, 0 where the other is, 0.5 for a tie."""
    return 0.5 if margin == 0 else float(margin > 0)


def gain_in_bits(margin: float) -> float:
    """Return `1 + log2 sigmoid(margin)`: 1 for a sure and right belief, 0 for none."""
    return 1.0 - math.log1p(math.exp(-abs(margin))) / math.log(2) + min(0.0, margin) / math.log(2)


def _differences(
    model: Personalizer,
    queries: Sequence[Query],
    profiles: Sequence[Profile],
    texts: Sequence[tuple[str, str]],
) -> list[float]:
    """log p(preferred) - log p(other) of each pair, all answers in one call."""
    twice = [query for query in queries for _ in range(2)]
    given = [profile for profile in profiles for _ in range(2)]
    scores = model.score(twice, given, [text for pair in texts for text in pair])
    return [chosen - rejected for chosen, rejected in zip(scores[::2], scores[1::2], strict=True)]


def _sample(
    batch: Batch,
    example: Example,
    profile: Profile,
    told: Answer,
    *,
    texts: tuple[str, str],
    margin: float,
    same_context: float,
    seconds: float,
) -> Sample:
    """One pair in the log's shape: its prediction is the answer that is favoured, "" for a tie."""
    chosen, rejected = texts
    right = accuracy(margin)
    query = example.query
    return Sample(
        method=batch.candidate.method,
        seed=batch.candidate.seed,
        task=TASK,
        query_id=query.id,
        user_id=query.user_id,
        profile_of=profile.user_id if profile.items else None,
        profile_items=len(profile.items),
        query=query.text,
        gold=chosen,
        generic=None,
        prediction={1.0: chosen, 0.0: rejected, 0.5: ""}[right],
        scores={
            ACCURACY: right,
            SAME_CONTEXT: accuracy(same_context),
            BITS: round(gain_in_bits(margin), 9),
        },
        utility=right,
        context=readable_context(told.context),
        trace={**told.trace, "margin": f"{margin:.4f}", "rejected": rejected},
        tokens=told.tokens,
        context_tokens=told.context_tokens,
        seconds=round(seconds, 6),
    )


def no_pairs(path: str, split: str) -> UserError:
    """What is said where every pair is too long."""
    return UserError(
        f"{path}, {split}: no held-out pair fits the model beside a summary",
        hint="use a model with a longer window",
    )
