"""Runs candidates over tasks and logs every answer; can be stopped anywhere and resumed.

The unit of work is a batch of queries: answered in one call, logged in one write. Batches are fixed
by the examples and the batch size, so a resumed evaluation makes the same calls in the same
composition as one left alone, and ends with the same results.
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
from personakit.errors import GoneError, RunError, UserError
from personakit.evaluation.candidates import Candidate, other_user_examples, profile_for
from personakit.evaluation.samples import (
    SAMPLES_FILE,
    Sample,
    append_batch,
    keep_whole_batches,
    make_sample,
    read_samples,
)
from personakit.records import Answer, Example, Profile, Query
from personakit.tasks import Task

#: Queries in a row that an endpoint may refuse before nothing more is asked.
REFUSED_IN_A_ROW = 4
#: Queries answered in one call. Larger is faster until memory ends, and loses more to a kill.
BATCH_SIZE = 256


class CutShortError(Exception):
    """A batch that nobody answers to its end: the error that ended it, and the samples before that."""

    def __init__(self, error: RunError, answered: list[Sample]) -> None:
        super().__init__(error.message)
        self.error = error
        self.answered = answered


@dataclass(frozen=True, slots=True)
class Batch:
    """Some consecutive examples of one task for one candidate."""

    candidate: Candidate
    task: str
    start: int
    stop: int


Answering = Callable[[Batch, Any, Sequence[Example], Sequence[int] | None], list[Sample]]
"""From a batch, what its candidate opened, the task's examples and the others drawn for them, to samples."""


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
    """Answer every example with every candidate and return the path of the sample log in `folder`.

    `examples` and `tasks` are keyed by task name. `seed` draws the other user of wrong-user
    candidates; examples that know their users' traits (`KnowsTraits`) give users with other traits.
    `progress` is called with samples done and in all. A candidate is opened for its first batch that is
    not done, and let go before the next one is opened.

    Where a batch cannot be answered as a whole, its halves are asked, and theirs: a query that is refused
    by itself is logged as a sample with an error. Raises `RunError` where nobody answers any more; what was
    answered until then is in the log, and what is not is asked again on `resume`.
    Raises `UserError` where the folder holds an evaluation that `resume` was not asked to go on with,
    or one of another plan.
    """

    respond = _Respondent()

    def answer(
        batch: Batch, personalizer: Personalizer, some: Sequence[Example], others: Sequence[int] | None
    ) -> list[Sample]:
        return _answer(batch, personalizer, some, tasks[batch.task], others, respond)

    return run_passes(
        candidates,
        examples,
        answer,
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
    """Log what `answer` makes of every batch of every candidate; for the rest see `evaluate`."""
    check_candidates(candidates, examples)
    if log.exists() and not resume:
        raise UserError(
            f"{log}: there is an evaluation already, expected none",
            hint="go on with it by --resume, or choose another folder",
        )
    log.parent.mkdir(parents=True, exist_ok=True)
    batches = [
        Batch(candidate, task, start, min(start + batch_size, len(examples[task])))
        for candidate in candidates
        for task in examples
        for start in range(0, len(examples[task]), batch_size)
    ]
    done = keep_whole_batches(log, _keys(batches, examples)) if resume else 0
    others = {
        task: other_user_examples(examples[task], seed=seed)
        for task in {batch.task for batch in batches[done:] if batch.candidate.profiles == "other"}
    }
    total = sum(batch.stop - batch.start for batch in batches)
    finished = sum(batch.stop - batch.start for batch in batches[:done])
    if progress:
        progress(finished, total)
    for candidate, its_batches in itertools.groupby(batches[done:], key=lambda batch: batch.candidate):
        personalizer = candidate.open()
        for batch in its_batches:
            try:
                samples = answer(batch, personalizer, examples[batch.task], others.get(batch.task))
            except CutShortError as cut:
                append_batch(log, cut.answered)  # no whole batch: `resume` makes it again
                raise cut.error from cut
            append_batch(log, samples)
            finished += batch.stop - batch.start
            if progress:
                progress(finished, total)
        del personalizer  # or it would be there while the next one is opened
    return log


def write_prediction_files(log: Path, folder: Path) -> list[Path]:
    """Write each pass of a log as a prediction file in LaMP's format: `folder/METHOD[-seedN]/TASK.json`.

    A failed answer is left out, never written as an empty one, so LaMP's own scorer stops on it.
    """
    from personakit.tasks.predictions import write_predictions

    passes: dict[tuple[str, int | None, str], dict[str, str]] = defaultdict(dict)
    for sample in read_samples(log):
        answered = passes[sample.key]
        if sample.error is None:
            answered[sample.query_id] = sample.prediction
    paths = []
    for (method, seed, task), predictions in passes.items():
        name = slug(method) + ("" if seed is None else f"-seed{seed}")
        path = folder / name / f"{task}.json"
        write_predictions(path, task, predictions)
        paths.append(path)
    return paths


def slug(method: str) -> str:
    """Turn a label into a folder's name."""
    return re.sub(r"[^a-z0-9]+", "-", method.lower()).strip("-")


def _answer(
    batch: Batch,
    personalizer: Personalizer,
    examples: Sequence[Example],
    task: Task,
    others: Sequence[int] | None,
    respond: _Respondent,
) -> list[Sample]:
    chosen = [examples[index] for index in range(batch.start, batch.stop)]
    profiles = [
        profile_for(batch.candidate, example, examples[others[batch.start + offset]] if others else None)
        for offset, example in enumerate(chosen)
    ]
    answers: list[Answer] = []

    def samples() -> list[Sample]:
        return [
            make_sample(batch.candidate.method, batch.candidate.seed, task, example, profile, answer)
            for example, profile, answer in zip(chosen, profiles, answers, strict=False)
        ]

    try:
        respond(personalizer, [example.query for example in chosen], profiles, answers)
    except RunError as error:
        raise CutShortError(error, samples()) from error
    if len(answers) != len(chosen):
        raise ValueError(f"{batch.candidate.method}: {len(answers)} answers to {len(chosen)} queries")
    return samples()


class _Respondent:
    """Asks for the answers of a batch, and finds the queries that spoil it for the others."""

    def __init__(self) -> None:
        self._refused = 0

    def __call__(
        self,
        personalizer: Personalizer,
        queries: Sequence[Query],
        profiles: Sequence[Profile],
        answers: list[Answer],
    ) -> None:
        """Append the answers, in order. Raises `RunError` where asking on is no use."""
        try:
            answers += personalizer.respond(queries, profiles)
            self._refused = 0
        except RunError as error:
            if len(queries) > 1:  # what has been answered is in the answer cache
                half = len(queries) // 2
                self(personalizer, queries[:half], profiles[:half], answers)
                self(personalizer, queries[half:], profiles[half:], answers)
                return
            self._refused += 1
            if isinstance(error, GoneError) or self._refused >= REFUSED_IN_A_ROW:
                raise
            answers.append(Answer("", error=error.message))


def _keys(
    batches: Sequence[Batch], examples: Mapping[str, Sequence[Example]]
) -> Iterator[list[tuple[str, int | None, str, str]]]:
    """Yield for each batch what its lines in the log are about."""
    ids = {task: [example.query.id for example in some] for task, some in examples.items()}
    for batch in batches:
        head = batch.candidate.method, batch.candidate.seed, batch.task
        yield [(*head, query_id) for query_id in ids[batch.task][batch.start : batch.stop]]


def check_candidates(candidates: Sequence[Candidate], examples: Mapping[str, Sequence[Example]]) -> None:
    """Raise `UserError` where two rows are the same one, or a task has no examples."""
    seen = set()
    for candidate in candidates:
        key = candidate.method, candidate.seed
        if key in seen:
            raise UserError(
                f"two candidates are called {candidate.method!r} with seed {candidate.seed}, "
                "expected one row per method and seed",
                hint="name each run once, or give the runs different seeds",
            )
        seen.add(key)
    for task, some in examples.items():
        if not some:
            raise UserError(
                f"task {task}: no examples to evaluate, expected at least 1",
                hint="check --limit and the data file",
            )
