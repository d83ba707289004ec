"""Answers to held-out requests, and a judge that is told who asks: does the summary change what is said?

The first held-out request of each user is answered by every row. A model that is told of the user in words
(their persona where the data knows it, else their signals) sets each answer against that of a row which knows
nothing of the user, in both orders (`judge.py`). What it says that cannot be read is counted, never scored.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from personakit.contracts import LanguageModel
from personakit.evaluation.bisection import Asker
from personakit.evaluation.bootstrap import RESAMPLES
from personakit.evaluation.judge import Match, judge
from personakit.evaluation.measurements import TaskFacts
from personakit.evaluation.preferences import Contender
from personakit.evaluation.results import Claims, compute_results
from personakit.evaluation.runner import Answering, Batch, answer_batch
from personakit.evaluation.samples import Sample, append_batch, read_samples, readable_context
from personakit.files import atomic_file
from personakit.records import Answer, Example, Profile

TASK = "answers"
WIN_RATE = "win rate"
ANSWERS_FILE, JUDGED_FILE = "answers.jsonl", "judged.jsonl"
_WHO = (
    "{request}\n\nOf the person who asks this is known: {known}\n"
    "The better answer is the one that this person would prefer."
)


def answering() -> Answering:
    """Return what makes a batch of requests into samples with answers, for `runner.run_passes`."""
    asker = Asker()

    def answer(
        batch: Batch, contender: Contender, examples: Sequence[Example], others: Sequence[int] | None
    ) -> list[Sample]:
        make = partial(_sample, batch)
        return answer_batch(batch, contender.policy, examples, others, asker, make)

    return answer


def _sample(batch: Batch, example: Example, profile: Profile, answer: Answer) -> Sample:
    """An answer in the log's shape, not scored: the judge does that."""
    return Sample(
        method=batch.candidate.method,
        seed=batch.candidate.seed,
        task=TASK,
        query_id=example.query.id,
        user_id=example.query.user_id,
        profile_of=profile.user_id if profile.items else None,
        profile_items=len(profile.items),
        query=example.query.text,
        gold=example.query.gold,
        generic=None,
        prediction=answer.text.encode(errors="replace").decode(),
        scores=None,
        utility=None,
        context=readable_context(answer.context),
        trace=dict(answer.trace),
        tokens=answer.tokens,
        context_tokens=answer.context_tokens,
        seconds=round(answer.seconds, 6),
        error=answer.error,
        refused=answer.refused,
    )


def judge_answers(
    folder: Path,
    model: LanguageModel,
    known: Callable[[str], str],
    against: Mapping[str, str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge the answers in `folder`, write the judged log there and return the results' part about it.

    `known` says in words what is known of a user; `against` names the row that each row's answers are set
    against. `rows` have the share of wins (ties half) with intervals; `unread` counts, by row, verdicts
    that could not be read, of `asked`; `failed` the answers that were not given, which are in neither;
    `refused` those that the model refused, which are judged as they stand.
    """
    samples = list(read_samples(folder / ANSWERS_FILE))
    places, matches = [], []
    for place, each in enumerate(samples):
        other = _counterpart(samples, each, against.get(each.method))
        if other is not None and each.error is None and other.error is None:
            asked = _WHO.format(request=each.query, known=known(each.user_id))
            places.append(place)
            matches.append(Match(asked, each.prediction, other.prediction))
    verdicts = dict(zip(places, judge(matches, model), strict=True))
    unread: dict[str, int] = defaultdict(int)
    asked_of: dict[str, int] = defaultdict(int)
    scored = []
    for place, each in enumerate(samples):
        if place not in verdicts:
            continue
        verdict = verdicts[place]
        asked_of[each.method] += 1
        unread[each.method] += verdict is None
        scores = None if verdict is None else {WIN_RATE: verdict}
        scored.append(replace(each, scores=scores, utility=verdict, unparsable=verdict is None))
    with atomic_file(folder / JUDGED_FILE) as temporary:
        append_batch(temporary, scored)
    failed = Counter(each.method for each in samples if each.error is not None)
    refused = Counter(each.method for each in samples if each.refused is not None)
    found = {
        "against": dict(against),
        "asked": dict(asked_of),
        "unread": dict(unread),
        "failed": dict(failed),
        "refused": dict(refused),
    }
    read = [each for each in scored if each.scores is not None]
    if not read:
        return {"rows": [], **found}
    results = compute_results(
        folder / JUDGED_FILE, {TASK: TaskFacts((WIN_RATE,))}, Claims(), resamples=resamples, seed=seed
    )
    return {"rows": [row for row in results["rows"] if row["metric"] == WIN_RATE], **found}


def _counterpart(samples: Sequence[Sample], sample: Sample, method: str | None) -> Sample | None:
    """The answer that a row's is set against: of the same seed, or of the only one there is."""
    same = [each for each in samples if each.method == method and each.query_id == sample.query_id]
    return next((each for each in same if each.seed == sample.seed), same[0] if same else None)
