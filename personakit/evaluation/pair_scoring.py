"""Held-out preference pairs as samples: does a model favour the answer that this user preferred?

The implicit reward of an answer is `beta (log p(y|x, context) - log ref(y|x))`, summed over its tokens. A
pair is correct where the preferred answer has the higher one; ties count 0.5 (AlignX, eval/loss_ica.py, with
`beta` 0.1). Accuracy is reported under two references: `ref(y|x)`, which does not see the context, and
AlignX's, the initial model given the same context as the scored one. A model that was not trained has only
ties under the second.

A pair's gain in bits is `1 + log2 sigmoid(margin)`: what the margin saves of the one bit that a coin toss
costs. Differences between rows are differences of cross-entropy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from personakit.contracts import Personalizer
from personakit.evaluation.candidates import Candidate
from personakit.evaluation.measurements import TaskMetrics
from personakit.evaluation.runner import Answering
from personakit.evaluation.samples import Sample, make_sample
from personakit.models.stopwatch import working_time
from personakit.records import Answer, Example, Profile, Query

TASK = "preference"
ACCURACY, SAME_CONTEXT, BITS = "accuracy", "accuracy, same context", "bits"
FACTS = TaskMetrics((ACCURACY, SAME_CONTEXT, BITS))


class ContextReporter(Personalizer, Protocol):
    """A Personalizer that can report the context of its prompts without answering."""

    def report_context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return answers without texts: context, trace and tokens."""
        ...


class PairScorer(Protocol):
    """One row: the scored model and its two references; `start` is `policy` where nothing was trained."""

    policy: ContextReporter
    reference: Personalizer
    start: Personalizer
    beta: float


def scored_pairs(rejected: Mapping[str, str]) -> Answering:
    """Return the `Answering` of pairs: the gold is the preferred answer, `rejected` the other by query id.

    The sample's prediction is the favoured answer, "" for a tie.
    """

    def answer(
        candidate: Candidate, row: PairScorer, examples: Sequence[Example], profiles: Sequence[Profile]
    ) -> list[Sample]:
        queries = [example.query for example in examples]
        texts = [(query.gold or "", rejected[query.id]) for query in queries]
        started = working_time()
        policy = _differences(row.policy, queries, profiles, texts)
        contexts = row.policy.report_context(queries, profiles)
        reference = _differences(row.reference, queries, profiles, texts)
        start = policy if row.start is row.policy else _differences(row.start, queries, profiles, texts)
        seconds = (working_time() - started) / len(queries)
        samples = []
        for place, (chosen, other) in enumerate(texts):
            margin = row.beta * (policy[place] - reference[place])
            correct = accuracy(margin)
            given = replace(
                contexts[place],
                text={1.0: chosen, 0.0: other, 0.5: ""}[correct],
                trace={**contexts[place].trace, "margin": f"{margin:.4f}", "rejected": other},
                seconds=seconds,
            )
            scores = {
                ACCURACY: correct,
                SAME_CONTEXT: accuracy(row.beta * (policy[place] - start[place])),
                BITS: round(gain_in_bits(margin), 9),
            }
            samples.append(
                make_sample(
                    *(candidate, examples[place], profiles[place], given),
                    task=TASK,
                    scores=scores,
                    utility=correct,
                )
            )
        return samples

    return answer


def accuracy(margin: float) -> float:
    """Return 1 where the preferred answer is favoured, 0 where the other is, 0.5 for a tie."""
    return 0.5 if margin == 0 else float(margin > 0)


def gain_in_bits(margin: float) -> float:
    """Return `1 + log2 sigmoid(margin)`: 1 for certainty in the preferred answer, 0 for none either way."""
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
