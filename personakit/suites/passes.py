"""Runs passes of an evaluation into logs of its folder, and reads what its runs were trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personakit.evaluation.candidates import Candidate
from personakit.evaluation.runner import Answering, run_passes
from personakit.evaluation.samples import count_answers
from personakit.records import Example
from personakit.training.progress import Progress, SilentProgress
from personakit.training.training_digests import read_trained_on


class PassRunner:
    """Runs candidates over examples into logs of one evaluation's folder, with progress."""

    def __init__(self, folder: Path, seed: int, progress: Progress | None) -> None:
        self.folder = folder
        self.failed = 0
        """Requests without an answer, in all logs."""
        self._seed, self._progress = seed, progress

    def __call__(
        self,
        candidates: Sequence[Candidate],
        examples: Mapping[str, Sequence[Example]],
        answering: Answering,
        file: str,
        *,
        resume: bool = True,
    ) -> Path:
        """Return the path of the log; continues one that is there unless `resume` is false."""
        progress = self._progress or SilentProgress()
        started = False

        def update(done: int, total: int) -> None:
            nonlocal started
            if not started:
                progress.start("answers", total, done)
                started = True
            progress.update(done)

        try:
            log = run_passes(
                candidates,
                examples,
                answering,
                self.folder / file,
                seed=self._seed,
                resume=resume,
                progress=update,
            )
        finally:
            progress.finish()
        self.failed += len(candidates) * sum(map(len, examples.values())) - count_answers(log)
        return log


def trained_on(runs: Sequence[Any]) -> tuple[dict[str, frozenset[str]], list[str]]:
    """Return the digests of the training queries of each run, and the runs that recorded none."""
    found = {str(run.folder): read_trained_on(run.folder) for run in runs}
    known = {run: digests for run, digests in found.items() if digests is not None}
    return known, [run for run in found if run not in known]
