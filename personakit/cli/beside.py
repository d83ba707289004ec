"""What stands in an evaluation's results beside its table: curves, users, published rows, warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.cli.errors import resumable
from personakit.cli.evaluation_folder import again, told
from personakit.cli.output import note
from personakit.errors import UserError

if TYPE_CHECKING:
    from personakit.cli.comparison import Comparison, Examples
    from personakit.evaluation.candidates import Candidate
    from personakit.evaluation.curve_points import Point
    from personakit.evaluation.measurements import TaskFacts
    from personakit.methods import FinishedRun, Surroundings
    from personakit.tasks import Task

CURVES_FOLDER = "curves"


def check_curves(kinds: Sequence[str]) -> None:
    """Raise `UserError` for a curve there is not."""
    from personakit.evaluation.curve_points import KINDS

    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f'unknown --curve "{kind}"', hint=f"there is {', '.join(KINDS)}")


def measure_curves(
    kinds: Sequence[str],
    comparison: Comparison,
    runs: Sequence[FinishedRun],
    around: Surroundings,
    examples: Examples,
    tasks: Mapping[str, Task],
    facts: Mapping[str, TaskFacts],
    folder: Path,
    *,
    seed: int,
) -> dict[str, list[dict[str, Any]]]:
    """Answer every point of every curve, and return the curves by kind; goes on where it was stopped."""
    from personakit.evaluation.curve_points import curve_document
    from personakit.evaluation.runner import evaluate

    curves = {}
    for kind in dict.fromkeys(kinds):
        points = curve_points(kind, comparison, runs, around)
        note(f"curve of {kind}: {len(points)} points")
        candidates = [candidate for point in points for candidate in point.candidates]
        with resumable(again(folder)), told() as progress:
            log = evaluate(
                candidates,
                examples,
                tasks,
                folder / CURVES_FOLDER / kind,
                seed=seed,
                resume=True,
                progress=progress,
            )
        curves[kind] = curve_document(log, points, facts, seed=seed)
    return curves


def curve_points(
    kind: str, comparison: Comparison, runs: Sequence[FinishedRun], around: Surroundings
) -> list[Point]:
    """Return the points of a curve: the rows that read a history, each at every place of the axis."""
    from personakit.cli.comparison import CONTEXT, METHOD, PROFILE, TUNED
    from personakit.evaluation.curve_points import POINTS, Point

    rows = (METHOD, TUNED, CONTEXT)  # what k means is RPO's
    if kind == "history":
        rows = (comparison.method, TUNED, CONTEXT, PROFILE, *comparison.beside)
    points = []
    for label in rows:
        some = [one for one in comparison.candidates if one.method == label and one.profiles == "own"]
        for at in POINTS[kind] if some else ():
            point = Point(label, at, ())
            moved = some if kind == "history" else [_with_k(one, at, runs, around) for one in some]
            items = at if kind == "history" else None
            points.append(
                replace(point, candidates=[replace(one, method=point.label, items=items) for one in moved])
            )
    if not points:
        raise UserError(
            f"--curve {kind}: no row of this evaluation reads a history",
            hint="evaluate a run, or --baseline context",
        )
    return points


def _with_k(candidate: Candidate, k: int, runs: Sequence[FinishedRun], around: Surroundings) -> Candidate:
    """Return a candidate that is shown `k` items."""
    from personakit.cli.comparison import CONTEXT, METHOD
    from personakit.methods import open_baseline, open_run, open_tuned_context

    def shown(settings: Any) -> Any:
        return replace(settings, retrieval=replace(settings.retrieval, k=k))

    if candidate.method == CONTEXT:
        around = replace(around, settings=shown(around.settings))
        return replace(candidate, open=partial(open_baseline, "context", around))
    run = next(run for run in runs if str(run.folder) == candidate.run)
    run = replace(run, settings=shown(run.settings))
    if candidate.method == METHOD:
        return replace(candidate, open=partial(open_run, run, base=around.base))
    return replace(candidate, open=partial(open_tuned_context, run))


def published(asked: str | None, data: str, examples: Examples) -> dict[str, Any] | None:
    """Return the published rows of LaMP's split that was asked for, or that the data is; else None.

    Raises `UserError` for an unknown split, and beside `lamp-mini`, which is another benchmark.
    """
    from personakit.data import open_examples
    from personakit.data.folders import data_folder
    from personakit.data.lamp_mini import is_lamp_mini
    from personakit.evaluation.published import SPLITS, published_rows, recognised_split

    if asked is not None and asked not in SPLITS:
        raise UserError(f'unknown --published "{asked}"', hint=f"there is {', '.join(SPLITS)}")
    if is_lamp_mini(data_folder(data)):
        if asked is not None:
            raise UserError(
                f"--published {asked}: {data} is not LaMP, and LaMP's figures say nothing about it",
                hint="leave it out",
            )
        return None
    split = asked
    if split is None:
        stores = [open_examples(data, task, store.split) for task, store in examples.items()]
        sizes = {store.task: len(store) for store in stores}
        split = recognised_split(sizes, dated=any(store.dated for store in stores))
    rows = published_rows(split, list(examples)) if split is not None else []
    return {"split": split, "rows": rows} if rows else None


def warnings(examples: Examples, tasks: Mapping[str, Task]) -> list[str]:
    """Return what a reader of the scores must know of the data, a sentence each."""
    from personakit.tasks.predictions import IGNORED_BY_ROUGE
    from personakit.tasks.scoring import mostly_ignored_by_rouge

    told = []
    for task, store in examples.items():
        if tasks[task].kind == "generation":
            unseen = sum(gold is not None and mostly_ignored_by_rouge(gold) for gold in store.golds)
            if unseen:
                told.append(f"{task}: {unseen} of {len(store)} {IGNORED_BY_ROUGE}.")
    return told
