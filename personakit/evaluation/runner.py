"""Runs candidates over tasks and logs every answer; can be stopped anywhere and resumed.

The unit of work is a batch of queries: answered in one call, logged in one write. Batches are fixed
by the examples and the batch size, so a resumed evaluation makes the same calls in the same
composition as one left alone, and ends with the same results. That is why a batch with an answer that failed
is asked again as a whole: what was paid for is in the answer cache.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from personakit.contracts import Personalizer
from personakit.errors import RunError, UserError
from personakit.evaluation.bisection import Asker
from personakit.evaluation.candidates import Candidate, other_user_examples, profile_for
from personakit.evaluation.samples import (
    SAMPLES_FILE,
    Sample,
    append_batch,
    keep_whole_batches,
    make_sample,
    put_batches,
    read_samples,
)
from personakit.records import Answer, Example, Profile
from personakit.tasks import Task

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

    Where a batch cannot be answered as a whole, its halves are asked, and theirs: a query that fails by
    itself is logged as a sample with an error. Raises `RunError` where nobody answers any more; what was
    answered until then is in the log, and what is not, or failed, is asked again on `resume`.
    Raises `UserError` where the folder holds an evaluation that `resume` was not asked to go on with,
    or one of another plan.
    """

    asker = Asker()

    def answer(
        batch: Batch, personalizer: Personalizer, some: Sequence[Example], others: Sequence[int] | None
    ) -> list[Sample]:
        candidate, task = batch.candidate, tasks[batch.task]
        make = partial(make_sample, candidate.method, candidate.seed, task)
        return answer_batch(batch, personalizer, some, others, asker, make)

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
    done, failed = keep_whole_batches(log, _keys(batches, examples)) if resume else (0, [])
    open_places = [*failed, *range(done, len(batches))]
    others = {
        task: other_user_examples(examples[task], seed=seed)
        for task in {batches[place].task for place in open_places if _needs_others(batches[place])}
    }
    sizes = [batch.stop - batch.start for batch in batches]
    total, finished = sum(sizes), sum(sizes) - sum(sizes[place] for place in open_places)
    if progress:
        progress(finished, total)
    for candidate, places in itertools.groupby(open_places, key=lambda place: batches[place].candidate):
        personalizer = candidate.open()
        mended: dict[int, list[Sample]] = {}
        try:
            for place in places:
                batch = batches[place]
                if place >= done:
                    _put(log, mended, sizes)
                try:
                    samples = answer(batch, personalizer, examples[batch.task], others.get(batch.task))
                except CutShortError as cut:
                    if place >= done:
                        append_batch(log, cut.answered)  # no whole batch: `resume` makes it again
                    raise cut.error from cut
                if place >= done:
                    append_batch(log, samples)
                else:
                    mended[place] = samples
                finished += sizes[place]
                if progress:
                    progress(finished, total)
        finally:
            _put(log, mended, sizes)
        del personalizer  # or it would be there while the next one is opened
    return log


def _put(log: Path, mended: dict[int, list[Sample]], sizes: Sequence[int]) -> None:
    """Put batches that were asked again where they stood; once a candidate, as the log is written anew."""
    if mended:
        put_batches(log, mended, sizes)
        mended.clear()


def _needs_others(batch: Batch) -> bool:
    return batch.candidate.profiles == "other"


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


def answer_batch(
    batch: Batch,
    personalizer: Personalizer,
    examples: Sequence[Example],
    others: Sequence[int] | None,
    asker: Asker,
    sample_of: Callable[[Example, Profile, Answer], Sample],
) -> list[Sample]:
    """Answer a batch, each example with the history that the candidate is given: what an `Answering` does.

    Raises `CutShortError` with the samples until then where nobody answers any more.
    """
    chosen = [examples[index] for index in range(batch.start, batch.stop)]
    profiles = [
        profile_for(batch.candidate, example, examples[others[batch.start + offset]] if others else None)
        for offset, example in enumerate(chosen)
    ]
    answers: list[Answer] = []

    def samples() -> list[Sample]:
        return [sample_of(*each) for each in zip(chosen, profiles, answers, strict=False)]

    try:
        asker(
            lambda some: personalizer.respond([example.query for example in chosen[some]], profiles[some]),
            lambda error: Answer("", error=error.message),
            slice(0, len(chosen)),
            answers,
        )
    except RunError as error:
        raise CutShortError(error, samples()) from error
    if len(answers) != len(chosen):
        raise ValueError(f"{batch.candidate.method}: {len(answers)} answers to {len(chosen)} queries")
    return samples()


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
