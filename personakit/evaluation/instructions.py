"""Instructions as an evaluation's examples, their scores, and what is read off the log of their answers.

Knows rows by label alone: whoever answers is a `Personalizer`, and what it was shown stands in its answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from personakit.contracts import LanguageModel, Personalizer
from personakit.evaluation.judge import Match, judge
from personakit.evaluation.measurements import TaskFacts
from personakit.evaluation.metrics import JUDGE
from personakit.evaluation.runner import Batch
from personakit.evaluation.samples import Sample, append_batch, read_samples
from personakit.files import atomic_file
from personakit.records import Example, Instruction, Profile, Query
from personakit.tasks.scoring import text_metric

TASK = "instruction"
PRIMARY, EXACT, LIKELIHOOD = "rouge-L", "exact", "likelihood"
METRICS = (PRIMARY, EXACT, LIKELIHOOD)

PICKS, KIND = "picks", "kind"
"""Names in a sample's trace: the places in the pool that were shown (first pick first), the query's kind."""


def examples_of(instructions: Sequence[Instruction], user_ids: Sequence[str]) -> list[Example]:
    """Return the instructions as an evaluation's examples, whose histories are empty."""
    return [
        Example(
            Query(one.id, TASK, f"{one.instruction}\n{one.input}".strip(), one.input, user, one.output),
            Profile(user, ()),
        )
        for one, user in zip(instructions, user_ids, strict=True)
    ]


def facts(*, judged: bool = False) -> dict[str, TaskFacts]:
    """Return what statistics know of the task; every metric is a mean over instructions, higher is better."""
    return {TASK: TaskFacts((*METRICS, JUDGE) if judged else METRICS)}


def answering(
    instructions: Sequence[Instruction], count_tokens: Callable[[str], int]
) -> Callable[[Batch, Any, Sequence[Example], Sequence[int] | None], list[Sample]]:
    """Return what makes samples of a batch (`runner.run_passes`).

    `likelihood` is the log-probability of the reference in nats per token, of which `count_tokens` counts
    those of the text and one more for its end.
    """
    kinds = {one.id: one.kind or "" for one in instructions}

    def answer(
        batch: Batch, personalizer: Personalizer, examples: Sequence[Example], others: Sequence[int] | None
    ) -> list[Sample]:
        some = examples[batch.start : batch.stop]
        queries, profiles = [each.query for each in some], [each.profile for each in some]
        golds = [query.gold or "" for query in queries]
        answers = personalizer.respond(queries, profiles)
        nats = personalizer.score(queries, profiles, golds)
        samples = []
        for query, gold, given, total in zip(queries, golds, answers, nats, strict=True):
            scores = {name: text_metric(name, given.text, gold) for name in (PRIMARY, EXACT)}
            scores[LIKELIHOOD] = round(total / (count_tokens(gold) + 1), 6)
            samples.append(
                Sample(
                    batch.candidate.method,
                    batch.candidate.seed,
                    TASK,
                    query.id,
                    query.user_id,
                    None,
                    0,
                    query.text,
                    gold,
                    None,
                    given.text.encode(errors="replace").decode(),
                    scores,
                    scores[PRIMARY],
                    {"items": [], "summary": None, "prompts": list(given.context.prompts)},
                    not given.text.strip(),
                    {**given.trace, KIND: kinds[query.id]},
                    given.tokens,
                    given.context_tokens,
                    round(given.seconds, 6),
                )
            )
        return samples

    return answer


def judge_log(log: Path, judged: Path, against: str, model: LanguageModel) -> dict[str, int]:
    """Write the samples of `log` into `judged` with a score `judge`, and return the verdicts unread by row.

    Every answer is set against that of the row `against` to the same query with the same seed, which is
    itself 0.5. One whose verdict could not be read has no such score: it is counted, never taken for lost.
    """
    samples = list(read_samples(log))
    base = {(each.seed, each.query_id): each.prediction for each in samples if each.method == against}
    places = [
        place
        for place, each in enumerate(samples)
        if each.method != against and (each.seed, each.query_id) in base
    ]
    matches = [
        Match(each.query, each.prediction, base[each.seed, each.query_id])
        for each in (samples[place] for place in places)
    ]
    verdicts: dict[int, float | None] = dict(zip(places, judge(matches, model), strict=True))
    unread: dict[str, int] = defaultdict(int)
    scored = []
    for place, each in enumerate(samples):
        verdict = 0.5 if each.method == against else verdicts.get(place)
        unread[each.method] += verdict is None
        scores = dict(each.scores or {})
        scored.append(replace(each, scores=scores if verdict is None else {**scores, JUDGE: verdict}))
    with atomic_file(judged) as temporary:
        append_batch(temporary, scored)
    return {method: count for method, count in unread.items() if count}
