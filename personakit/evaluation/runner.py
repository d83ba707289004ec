"""Runs candidates over tasks and logs every answer; can be stopped at any time and resumed.

The unit of work is a batch of queries: answered in one call, logged in one write. Batches depend on the
examples and the batch size only, so a resumed evaluation makes the same calls as an uninterrupted one and
ends with the same results. For the same reason a batch with a failed answer is computed again as a whole;
its other answers come from the answer cache.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personakit.contracts import Personalizer
from personakit.errors import RunError, UserError
from personakit.evaluation.bisection import Bisection
from personakit.evaluation.candidates import Candidate, other_user_examples, profile_for
from personakit.evaluation.samples import (
    SAMPLES_FILE,
    Sample,
    append_batch,
    make_sample,
    read_samples,
    replace_batches,
    truncate_to_complete_batches,
)
from personakit.records import Answer, Example, Profile
from personakit.tasks import Task

#: Queries answered in one call. Larger is faster until memory runs out, and loses more when killed.
BATCH_SIZE = 256

Answering = Callable[[Candidate, Any, Sequence[Example], Sequence[Profile]], list[Sample]]
"""Makes one sample per example, given the candidate, what it opened, and the history for each example."""


class _ServerGoneError(Exception):
    """The server of a model is gone: the error, and the samples of the batch before it."""

    def __init__(self, error: RunError, answered: list[Sample]) -> None:
        super().__init__(error.message)
        self.error = error
        self.answered = answered


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive examples of one task for one candidate."""

    candidate: Candidate
    task: str
    start: int
    stop: int


def answered_and_scored(tasks: Mapping[str, Task]) -> Answering:
    """Return the `Answering` of LaMP-like tasks: respond to each query, score it by its task."""

    def answer(
        candidate: Candidate, opened: Personalizer, examples: Sequence[Example], profiles: Sequence[Profile]
    ) -> list[Sample]:
        answers = opened.respond([example.query for example in examples], profiles)
        if len(answers) != len(examples):
            raise ValueError(f"{candidate.method}: {len(answers)} answers to {len(examples)} queries")
        samples = []
        for example, profile, given in zip(examples, profiles, answers, strict=True):
            task, gold, text = tasks[example.query.task], example.query.gold, given.text
            samples.append(
                make_sample(
                    candidate,
                    example,
                    profile,
                    given,
                    scores=None if gold is None else task.sample_scores(text, gold),
                    utility=None if gold is None else task.utility(text, gold),
                    unparsable=task.unparsable(text),
                )
            )
        return samples

    return answer


def evaluate(
    candidates: Sequence[Candidate],
    examples: Mapping[str, Sequence[Example]],
    tasks: Mapping[str, Task],
    folder: Path,
    *,
    batch_size: int = BATCH_SIZE,
    seed: int = 0,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Answer and score every example with every candidate; return the sample log in `folder`.

    `examples` and `tasks` are keyed by task name. For the rest see `run_passes`.
    """
    return run_passes(
        candidates,
        examples,
        answered_and_scored(tasks),
        folder / SAMPLES_FILE,
        batch_size=batch_size,
        seed=seed,
        resume=resume,
        progress=progress,
    )


def run_passes(
    candidates: Sequence[Candidate],
    examples: Mapping[str, Sequence[Example]],
    answer: Answering,
    log: Path,
    *,
    batch_size: int = BATCH_SIZE,
    seed: int = 0,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Log what `answer` makes of every batch of every candidate; return `log`.

    `seed` draws the other user of wrong-user candidates (with different traits where they are known:
    `KnowsTraits`). `progress` is called with the samples done and in all. A candidate is opened before its
    first open batch and released before the next one is opened.

    A batch that fails is halved until the failing query is found, which is logged with its error. Raises
    `RunError` where the server is gone; finished answers stay in the log, and `resume` computes the rest
    and the failed ones. Raises `UserError` where the log exists without `resume`, or was written by
    another plan.
    """
    check_candidates(candidates, examples)
    if log.exists() and not resume:
        raise UserError(
            f"{log}: exists already, expected a new evaluation",
            hint="continue it with --resume, or choose another folder",
        )
    log.parent.mkdir(parents=True, exist_ok=True)
    batches = [
        Batch(candidate, task, start, min(start + batch_size, len(examples[task])))
        for candidate in candidates
        for task in examples
        for start in range(0, len(examples[task]), batch_size)
    ]
    done, failed = truncate_to_complete_batches(log, _keys(batches, examples)) if resume else (0, [])
    open_places = [*failed, *range(done, len(batches))]
    wrong_user_tasks = {
        batches[place].task for place in open_places if batches[place].candidate.profiles == "other"
    }
    others = {task: other_user_examples(examples[task], seed=seed) for task in wrong_user_tasks}
    sizes = [batch.stop - batch.start for batch in batches]
    total, finished = sum(sizes), sum(sizes) - sum(sizes[place] for place in open_places)
    report = progress or (lambda done, total: None)
    report(finished, total)
    bisection = Bisection()
    for candidate, places in itertools.groupby(open_places, key=lambda place: batches[place].candidate):
        opened = candidate.open()
        replaced: dict[int, list[Sample]] = {}
        try:
            for place in places:
                batch = batches[place]
                if place >= done:
                    _replace(log, replaced, sizes)
                chosen, other = examples[batch.task], others.get(batch.task)
                try:
                    samples = _answer_batch(batch, opened, chosen, other, answer, bisection)
                except _ServerGoneError as gone:
                    if place >= done:
                        append_batch(log, gone.answered)  # an incomplete batch: `resume` computes it again
                    raise gone.error from gone
                if place >= done:
                    append_batch(log, samples)
                else:
                    replaced[place] = samples
                finished += sizes[place]
                report(finished, total)
        finally:
            _replace(log, replaced, sizes)
        del opened  # before the next candidate is opened: both may not fit into memory
    return log


def _answer_batch(
    batch: Batch,
    opened: Any,
    examples: Sequence[Example],
    others: Sequence[int] | None,
    answer: Answering,
    bisection: Bisection,
) -> list[Sample]:
    """Answer a batch, each example with the history for its candidate; raises `_ServerGoneError`."""
    candidate = batch.candidate
    chosen = [examples[place] for place in range(batch.start, batch.stop)]
    profiles = [
        profile_for(candidate, example, examples[others[batch.start + offset]] if others else None)
        for offset, example in enumerate(chosen)
    ]
    samples: list[Sample] = []
    try:
        bisection(
            lambda some: answer(candidate, opened, chosen[some], profiles[some]),
            lambda place, error: make_sample(
                candidate, chosen[place], profiles[place], Answer("", error=error.message), task=batch.task
            ),
            slice(0, len(chosen)),
            samples,
        )
    except RunError as error:
        raise _ServerGoneError(error, samples) from error
    return samples


def _replace(log: Path, replaced: dict[int, list[Sample]], sizes: Sequence[int]) -> None:
    """Replace batches of the log that had failed; once per candidate, as the whole log is rewritten."""
    if replaced:
        replace_batches(log, replaced, sizes)
        replaced.clear()


def write_prediction_files(log: Path, folder: Path) -> list[Path]:
    """Write each pass of a log as a prediction file in LaMP's format: `folder/METHOD[-seedN]/TASK.json`.

    A failed answer is left out instead of written as an empty one, so that LaMP's own scorer stops on it.
    """
    from personakit.tasks.predictions import write_predictions

    passes: dict[tuple[str, int | None, str], dict[str, str]] = defaultdict(dict)
    for sample in read_samples(log):
        predictions = passes[sample.key]
        if sample.error is None:
            predictions[sample.query_id] = sample.prediction
    paths = []
    for (method, seed, task), predictions in passes.items():
        name = slug(method) + ("" if seed is None else f"-seed{seed}")
        path = folder / name / f"{task}.json"
        write_predictions(path, task, predictions)
        paths.append(path)
    return paths


def slug(method: str) -> str:
    """Turn a label into a folder name."""
    return re.sub(r"[^a-z0-9]+", "-", method.lower()).strip("-")


def _keys(
    batches: Sequence[Batch], examples: Mapping[str, Sequence[Example]]
) -> Iterator[list[tuple[str, int | None, str, str]]]:
    """Yield (method, seed, task, query id) of each sample, batch by batch."""
    ids = {task: [example.query.id for example in some] for task, some in examples.items()}
    for batch in batches:
        head = batch.candidate.method, batch.candidate.seed, batch.task
        yield [(*head, query_id) for query_id in ids[batch.task][batch.start : batch.stop]]


def check_candidates(candidates: Sequence[Candidate], examples: Mapping[str, Sequence[Example]]) -> None:
    """Raise `UserError` where two rows have the same label and seed, or a task has no examples."""
    seen = set()
    for candidate in candidates:
        key = candidate.method, candidate.seed
        if key in seen:
            raise UserError(
                f"two candidates are called {candidate.method!r} with seed {candidate.seed}, "
                "expected one row per method and seed",
                hint="name each run once, or train the runs with different seeds",
            )
        seen.add(key)
    for task, some in examples.items():
        if not some:
            raise UserError(
                f"task {task}: no examples to evaluate, expected at least 1",
                hint="check --limit and the data file",
            )
