"""Scores prediction files made anywhere, by LaMP's rules (eval/evaluation.py).

A prediction file has the shape of a gold file. As upstream, the task must be the same and the ids
must be the same set; an id given twice counts once, with its last output, and here is counted and
told too. All seven tasks together are scored only where all seven are given.
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
from personakit.tasks.scoring import unseen_by_rouge

_SHOWN_IDS = 3
UNSEEN = (
    "golds are mostly in a script that LaMP's ROUGE does not read ([a-z0-9] alone): whatever is answered, "
    "they score near 0"
)


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """The score of one prediction file.

    `metrics` by upstream's names; `figure` is the primary one in [0, 1], higher better (accuracy,
    1 - MAE/4, ROUGE-1). `unparsable` counts predictions that official scoring could not read,
    the duplicates ids given more than once, `unseen` golds in a script that LaMP's ROUGE does not read.
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
        """What a reader of the score must know, a sentence each."""
        told = (
            (self.unparsable, "predictions could not be read and were scored by LaMP's rule for them"),
            (self.duplicate_predictions, "ids stand more than once in the predictions; the last one counts"),
            (self.duplicate_golds, "ids stand more than once in the golds; the last one counts"),
            (self.unseen, UNSEEN),
        )
        return tuple(f"{self.task}: {count} {what}" for count, what in told if count)


@dataclass(frozen=True, slots=True)
class BenchmarkReport:
    """The scores of all seven tasks; `primary` is the mean of their figures (docs/methods.md)."""

    reports: Mapping[str, ScoreReport]
    primary: float


def score_files(predictions: Path, golds: Path) -> ScoreReport:
    """Score one prediction file against its gold file.

    A gold file that says `LaMP_2` is the movies' or the old news', as its golds tell.
    Raises `UserError` where a file is not of the format, a gold cannot be an answer of the task, the
    tasks differ, or the ids do.
    """
    return _score(predictions, read_outputs(predictions), golds, read_outputs(golds))


def score_folders(predictions: Path, golds: Path) -> BenchmarkReport:
    """Score two folders that hold one `.json` file for each of LaMP's seven tasks, named in any way.

    Raises `UserError` as `score_files` does, and where a task is missing or given twice.
    """
    predicted, wanted = _read_folder(predictions), _read_folder(golds)
    reports = {task: _score(*predicted[task], *wanted[task]) for task in LAMP_TASKS}
    return BenchmarkReport(reports, sum(report.figure for report in reports.values()) / len(reports))


def write_predictions(path: Path, task: str, predictions: Mapping[str, str]) -> None:
    """Write predictions, by query id, in LaMP's format, whole or not at all."""
    write_outputs(path, task, predictions.items())


def _score(predictions: Path, predicted: Outputs, golds: Path, wanted: Outputs) -> ScoreReport:
    task = _task_of(golds, wanted)
    if predicted.task != wanted.task:
        raise UserError(
            f'{predictions}: "task" is "{predicted.task}", expected "{wanted.task}" as in {golds}',
            hint="score a prediction file against the gold file of its own task",
        )
    if predicted.texts.keys() != wanted.texts.keys():
        raise _different_ids(predictions, predicted, golds, wanted)
    references = list(wanted.texts.values())
    answers = [predicted.texts[id] for id in wanted.texts]
    metrics = task.score(answers, references)
    return ScoreReport(
        task=task.name,
        metrics=metrics,
        figure=task.figure(metrics),
        examples=len(references),
        unparsable=sum(map(task.unparsable, answers)),
        duplicate_predictions=len(set(predicted.duplicates)),
        duplicate_golds=len(set(wanted.duplicates)),
        unseen=sum(map(unseen_by_rouge, references)) if task.kind == "generation" else 0,
    )


def _task_of(path: Path, golds: Outputs) -> Task:
    """Return the task of a gold file, every gold of which it allows."""
    candidates = tasks_in_file(golds.task)
    if not candidates:
        raise UserError(
            f'{path}: "task" is "{golds.task}", expected one of {", ".join(FILE_TASKS)}',
            hint="write the task as LaMP's own files do",
        )
    if not golds.texts:
        raise UserError(f'{path}: "golds" is empty, expected at least one', hint="check where it was written")
    wrong = {
        task: [id for id, gold in golds.texts.items() if not task.valid_gold(gold)] for task in candidates
    }
    task = min(candidates, key=lambda candidate: len(wrong[candidate]))
    if wrong[task]:
        raise UserError(
            f'{path}, id "{wrong[task][0]}": "output" is "{golds.texts[wrong[task][0]]}", '
            f"expected one of {', '.join(task.labels)}",
            hint=f"no other answer is a gold of {task.name}; perhaps predictions and golds were exchanged",
        )
    return task


def _different_ids(predictions: Path, predicted: Outputs, golds: Path, wanted: Outputs) -> UserError:
    missing = [id for id in wanted.texts if id not in predicted.texts]
    unknown = [id for id in predicted.texts if id not in wanted.texts]
    told = [f"lacks {_some(missing)}"] if missing else []
    told += [f"has {_some(unknown)} without a gold"] if unknown else []
    return UserError(
        f"{predictions} {' and '.join(told)}, expected exactly the ids of {golds}",
        hint="predict every query of the split once; an empty output counts as a wrong answer",
    )


def _some(ids: list[str]) -> str:
    shown = ", ".join(f'"{id}"' for id in ids[:_SHOWN_IDS])
    more = f" and {len(ids) - _SHOWN_IDS} more" if len(ids) > _SHOWN_IDS else ""
    return f"{'id' if len(ids) == 1 else 'ids'} {shown}{more}"


def _read_folder(folder: Path) -> dict[str, tuple[Path, Outputs]]:
    found: dict[str, tuple[Path, Outputs]] = {}
    for path in sorted(folder.rglob("*.json")):
        outputs = read_outputs(path)
        if outputs.task in found:
            raise UserError(
                f'{path}: "task" is "{outputs.task}", which {found[outputs.task][0]} is of too',
                hint="keep one file a task in the folder",
            )
        found[outputs.task] = path, outputs
    missing = [task for task in LAMP_TASKS if task not in found]
    if missing:
        raise UserError(
            f"{folder} has no file of {', '.join(missing)}, expected one for each of LaMP's seven tasks",
            hint="score single tasks by giving two files instead of two folders",
        )
    return found
