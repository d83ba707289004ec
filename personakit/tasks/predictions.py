"""Scores prediction files by LaMP's rules (eval/evaluation.py).

A prediction file has the format of a gold file. As upstream, task and set of ids must match, and of a
repeated id the last output counts; here, repeated ids are also reported. The benchmark score requires all
seven tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from personakit.data.lamp import Outputs, read_outputs, write_outputs
from personakit.data.lamp_formats import LAMP_TASKS
from personakit.errors import UserError
from personakit.tasks.base import Task
from personakit.tasks.registry import FILE_TASKS, tasks_in_file
from personakit.tasks.scoring import mostly_ignored_by_rouge

_MAX_SHOWN_IDS = 3
IGNORED_BY_ROUGE = (
    "golds are mostly in a script that LaMP's ROUGE ignores (it reads only [a-z0-9]): any answer scores "
    "close to 0"
)


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """The score of one prediction file.

    `metrics` has upstream's names. `figure` is the primary metric in [0, 1], higher is better (accuracy,
    1 - MAE/4, ROUGE-1). `unparsable` counts predictions that official scoring could not read,
    `duplicate_predictions` and `duplicate_golds` repeated ids, `unseen` golds in a script that LaMP's ROUGE
    ignores.
    """

    task: str
    metrics: Mapping[str, float]
    figure: float
    examples: int
    unparsable: int
    duplicate_predictions: int
    duplicate_golds: int
    unseen: int = 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings on the score, one sentence each."""
        parts = (
            (self.unparsable, "predictions could not be parsed and were scored by LaMP's fallback rule"),
            (self.duplicate_predictions, "ids are repeated in the predictions; the last one counts"),
            (self.duplicate_golds, "ids are repeated in the golds; the last one counts"),
            (self.unseen, IGNORED_BY_ROUGE),
        )
        return tuple(f"{self.task}: {count} {what}" for count, what in parts if count)


@dataclass(frozen=True, slots=True)
class BenchmarkReport:
    """The scores of all seven tasks. `primary` is the mean of their figures."""

    reports: Mapping[str, ScoreReport]
    primary: float


def score_files(predictions: Path, golds: Path) -> ScoreReport:
    """Score one prediction file against its gold file.

    For a gold file with the task `LaMP_2`, the golds decide between movies and the old news task. Raises
    `UserError` if a file or gold is invalid, or if tasks or ids differ.
    """
    return _score(predictions, read_outputs(predictions), golds, read_outputs(golds))


def score_folders(predictions: Path, golds: Path) -> BenchmarkReport:
    """Score two folders with one `.json` file for each of LaMP's seven tasks. File names do not matter.

    Raises `UserError` as `score_files`, and if a task is missing or repeated.
    """
    predicted, expected = _read_folder(predictions), _read_folder(golds)
    reports = {task: _score(*predicted[task], *expected[task]) for task in LAMP_TASKS}
    return BenchmarkReport(reports, sum(report.figure for report in reports.values()) / len(reports))


def write_predictions(path: Path, task: str, predictions: Mapping[str, str]) -> None:
    """Write predictions by query id in LaMP's format, atomically."""
    write_outputs(path, task, predictions.items())


def _score(predictions: Path, predicted: Outputs, golds: Path, expected: Outputs) -> ScoreReport:
    task = _task_of(golds, expected)
    if predicted.task != expected.task:
        raise UserError(
            f'{predictions}: "task" is "{predicted.task}", expected "{expected.task}" as in {golds}',
            hint="score a prediction file against the gold file of its own task",
        )
    if predicted.texts.keys() != expected.texts.keys():
        raise _different_ids(predictions, predicted, golds, expected)
    references = list(expected.texts.values())
    answers = [predicted.texts[id] for id in expected.texts]
    metrics = task.score(answers, references)
    return ScoreReport(
        task=task.name,
        metrics=metrics,
        figure=task.figure(metrics),
        examples=len(references),
        unparsable=sum(map(task.unparsable, answers)),
        duplicate_predictions=len(set(predicted.duplicates)),
        duplicate_golds=len(set(expected.duplicates)),
        unseen=sum(map(mostly_ignored_by_rouge, references)) if task.kind == "generation" else 0,
    )


def _task_of(path: Path, golds: Outputs) -> Task:
    """Return the task for which most golds of the file are valid; all must be."""
    candidates = tasks_in_file(golds.task)
    if not candidates:
        raise UserError(
            f'{path}: "task" is "{golds.task}", expected one of {", ".join(FILE_TASKS)}',
            hint="use the task name of LaMP's files",
        )
    if not golds.texts:
        raise UserError(f'{path}: "golds" is empty, expected at least one', hint="check how it was created")
    invalid_ids = {
        task: [id for id, gold in golds.texts.items() if not task.valid_gold(gold)] for task in candidates
    }
    task = min(candidates, key=lambda candidate: len(invalid_ids[candidate]))
    if invalid_ids[task]:
        raise UserError(
            f'{path}, id "{invalid_ids[task][0]}": "output" is "{golds.texts[invalid_ids[task][0]]}", '
            f"expected one of {', '.join(task.labels)}",
            hint=f"{task.name} has no other labels; perhaps predictions and golds are swapped",
        )
    return task


def _different_ids(predictions: Path, predicted: Outputs, golds: Path, expected: Outputs) -> UserError:
    missing = [id for id in expected.texts if id not in predicted.texts]
    unknown = [id for id in predicted.texts if id not in expected.texts]
    parts = [f"lacks {_listed_ids(missing)}"] if missing else []
    parts += [f"has {_listed_ids(unknown)} without a gold"] if unknown else []
    return UserError(
        f"{predictions} {' and '.join(parts)}, expected exactly the ids of {golds}",
        hint="predict every query of the split exactly once; an empty output counts as a wrong answer",
    )


def _listed_ids(ids: list[str]) -> str:
    shown = ", ".join(f'"{id}"' for id in ids[:_MAX_SHOWN_IDS])
    more = f" and {len(ids) - _MAX_SHOWN_IDS} more" if len(ids) > _MAX_SHOWN_IDS else ""
    return f"{'id' if len(ids) == 1 else 'ids'} {shown}{more}"


def _read_folder(folder: Path) -> dict[str, tuple[Path, Outputs]]:
    found: dict[str, tuple[Path, Outputs]] = {}
    for path in sorted(folder.rglob("*.json")):
        outputs = read_outputs(path)
        if outputs.task in found:
            raise UserError(
                f'{path}: "task" is "{outputs.task}", like that of {found[outputs.task][0]}',
                hint="keep one file per task in the folder",
            )
        found[outputs.task] = path, outputs
    missing = [task for task in LAMP_TASKS if task not in found]
    if missing:
        raise UserError(
            f"{folder} has no file for {', '.join(missing)}, expected one for each of LaMP's seven tasks",
            hint="to score a single task, give two files instead of two folders",
        )
    return found
