"""`results.json`: rows and comparisons, computed deterministically from the sample log.

`rows` and `comparisons` are the machine-readable table; rows of task "all" have the primary metric, the mean
over tasks of accuracy, 1 - MAE/4 and ROUGE-1. A row's `content_kept` (with its interval) is the fraction of
the generic answers' facts that a rewriting method keeps (`content.py`), null for other methods. Times are
only in the log, because they differ between runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from personakit.errors import RunError
from personakit.evaluation.bootstrap import LEVEL, RESAMPLES, Estimate, holm
from personakit.evaluation.measurements import Measurements, TaskMetrics
from personakit.evaluation.samples import read_samples
from personakit.evaluation.statistics import Beats, Gap, Statistics, Transfer, WrongUser
from personakit.files import write_json

#: The task and the metric of rows and comparisons over all tasks.
ALL, PRIMARY = "all", "primary"
RESULTS_FILE = "results.json"
TEST_LOOKS_FILE = "test_looks.jsonl"
#: Decimal places of numbers.
DIGITS = 6
_UNKNOWN = Estimate(math.nan, np.array([]))


@dataclass(frozen=True, slots=True)
class Claims:
    """The comparisons of a table, by the labels of its rows.

    `compared`: pairs (method, against), for differences and the verdict "beats". `wrong_user`: triples
    (right, wrong, empty). `gaps`: triples (method, low, high), for the fraction of the gap closed.
    `transfers` maps another base model to the labels (method, generic) with it and with the training's base
    model, for the fraction of the gain that is kept. Comparisons with a label that was not run are skipped.
    """

    compared: Sequence[tuple[str, str]] = ()
    wrong_user: Sequence[tuple[str, str, str]] = ()
    gaps: Sequence[tuple[str, str, str]] = ()
    transfers: Mapping[str, tuple[str, str, str, str]] = field(default_factory=dict)


def compute_results(
    log: Path,
    tasks: Mapping[str, TaskMetrics],
    claims: Claims = Claims(),
    *,
    made_by: Mapping[str, Any] | None = None,
    users_are: str = "users",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute the contents of `results.json` from a sample log.

    `made_by` (versions, split, data fingerprints) is stored as it is; it must not contain times or
    `--resume`, so that a resumed evaluation gives the same file. `users_are` names the resampled units.
    """
    statistics = Statistics(Measurements(read_samples(log), tasks), resamples=resamples, seed=seed)
    comparable = statistics.measurements.comparable
    pairs = [pair for pair in claims.compared if comparable(*pair)]
    return {
        "rows": [row for method in statistics.measurements.methods for row in _rows(statistics, method)],
        "comparisons": [item for pair in pairs for item in _comparisons(statistics, *pair)],
        "beats": _corrected([_beats(statistics.beats(*pair)) for pair in pairs]),
        "wrong_user": [
            _wrong_user(statistics.wrong_user(*labels)) for labels in claims.wrong_user if comparable(*labels)
        ],
        "gap_closed": [
            {"method": method, "from": low, "to": high} | _gap(statistics.gap_closed(method, low, high))
            for method, low, high in claims.gaps
            if comparable(method, low, high)
        ],
        "transfer": [
            _transfer(base, labels, statistics.transfer(*labels))
            for base, labels in claims.transfers.items()
            if comparable(*labels)
        ],
        "tasks": {
            task: {"primary": facts.primary, "lower_is_better": facts.lower_is_better}
            for task, facts in statistics.measurements.tasks.items()
        },
        **_styles(statistics),
        "users_are": users_are,
        "intervals": {
            "kind": "studentised bootstrap over users and training seeds, paired",
            "level": LEVEL,
            "resamples": resamples,
            "seed": seed,
            "users_shared_across_tasks": statistics.bootstrap.shared,
        },
        "made_by": dict(made_by or {}),
    }


def write_results(folder: Path, results: Mapping[str, Any]) -> Path:
    """Write `results.json` atomically."""
    path = folder / RESULTS_FILE
    write_json(path, results)
    return path


def record_test_look(run_folder: Path, *, command: str, tasks: Sequence[str], methods: Sequence[str]) -> int:
    """Record an evaluation on the test split in the run's folder; return the number of records.

    Reports print the number, because every evaluation on test could influence a selection.
    """
    path = run_folder / TEST_LOOKS_FILE
    look = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "tasks": list(tasks),
        "methods": list(methods),
    }
    try:
        with path.open("ab") as looks:
            looks.write(orjson.dumps(look, option=orjson.OPT_APPEND_NEWLINE))
    except OSError as error:
        raise RunError(
            f"{path}: the evaluation on the test split could not be recorded: {error.strerror}",
            hint="make the run's folder writable, or evaluate on dev",
        ) from error
    return count_test_looks(run_folder)


def count_test_looks(run_folder: Path) -> int:
    """Return the number of evaluations of a run on its test split."""
    path = run_folder / TEST_LOOKS_FILE
    if not path.is_file():
        return 0
    with path.open("rb") as looks:
        return sum(1 for _ in looks)


def _rows(statistics: Statistics, method: str) -> list[dict[str, Any]]:
    measurements = statistics.measurements
    tasks = [task for task in measurements.tasks if measurements.has(method, task)]
    rows = [
        {"method": method, "task": task, "metric": metric}
        | interval("value", statistics.estimate(method, task, metric))
        | {"users": len(measurements.users[task]), "examples": measurements.examples(task)}
        | _facts(statistics, method, [task])
        for task in tasks
        for metric in measurements.tasks[task].metrics
    ]
    if not measurements.has_all(method):  # a mean over fewer tasks is not comparable
        return rows
    users = [user for task in tasks for user in measurements.users[task]]
    rows.append(
        {"method": method, "task": ALL, "metric": PRIMARY}
        | interval("value", statistics.primary(method))
        | {
            "users": len(set(users)) if statistics.bootstrap.shared else len(users),
            "examples": sum(map(measurements.examples, tasks)),
        }
        | _facts(statistics, method, tasks)
    )
    return rows


def _facts(statistics: Statistics, method: str, tasks: Sequence[str]) -> dict[str, Any]:
    costs = statistics.measurements.costs(method, tasks)
    kept = statistics.content_kept(method, tasks) or _UNKNOWN
    return {
        "content_kept": round_or_none(kept.value),
        "content_kept_low": round_or_none(kept.low),
        "content_kept_high": round_or_none(kept.high),
        "context_tokens": round(costs.per_answer("context_tokens"), DIGITS),
        "tokens": round(costs.per_answer("tokens"), DIGITS),
        "seeds": len(statistics.measurements.seeds[method]),
        "errors": costs.errors,
        "refused": costs.refused,
        "cut": costs.cut,
        "prompts_cut": costs.prompts_cut,
        "degraded": costs.degraded,
        "unparsable": costs.unparsable,
        "empty_profiles": costs.empty_profiles,
    }


def _comparisons(statistics: Statistics, method: str, against: str) -> list[dict[str, Any]]:
    measurements = statistics.measurements
    head = {"method": method, "against": against}
    items = [
        head
        | {"task": task, "metric": metric}
        | interval("difference", statistics.difference(method, against, task, metric))
        for task, facts in measurements.tasks.items()
        if measurements.has(method, task) and measurements.has(against, task)
        for metric in facts.metrics
    ]
    if not (measurements.has_all(method) and measurements.has_all(against)):
        return items
    overall = interval("difference", statistics.primary_difference(method, against))
    return [*items, head | {"task": ALL, "metric": PRIMARY} | overall]


def _beats(verdict: Beats) -> dict[str, Any]:
    return {
        "method": verdict.method,
        "against": verdict.against,
        "holds": verdict.holds,
        "failed": list(verdict.failed),
        "tasks_better": list(verdict.better),
        "tasks_worse": list(verdict.worse),
        "p_values_holm": {task: round_or_none(p) for task, p in verdict.p_values.items()},
    } | interval("difference", verdict.difference)


def _corrected(verdicts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add `p_holm` to verdicts on a single task, corrected over all comparisons of the same method."""
    by_method: dict[str, dict[str, float]] = {}
    for verdict in verdicts:
        p_values = list(verdict["p_values_holm"].values())
        if len(p_values) == 1 and p_values[0] is not None:
            by_method.setdefault(verdict["method"], {})[verdict["against"]] = p_values[0]
    corrected = {method: holm(values) for method, values in by_method.items()}
    for verdict in verdicts:
        if verdict["against"] in corrected.get(verdict["method"], {}):
            verdict["p_holm"] = corrected[verdict["method"]][verdict["against"]]
    return verdicts


def _wrong_user(verdict: WrongUser) -> dict[str, Any]:
    return {
        "right": verdict.right,
        "wrong": verdict.wrong,
        "empty": verdict.empty,
        "holds": verdict.holds,
        "failed": list(verdict.failed),
        "right_minus_wrong": interval("value", verdict.gain),
        "wrong_minus_empty": interval("value", verdict.leak),
        "share": interval("value", verdict.share),
    }


def _gap(found: Gap) -> dict[str, Any]:
    return {
        "lead": interval("value", found.lead),
        "ahead": interval("value", found.ahead),
    } | interval("value", found.share)


def _styles(statistics: Statistics) -> dict[str, Any]:
    """Return {"style": {task: ...}} of the tasks whose style is measured; nothing where there is none."""
    found = {}
    for task, facts in statistics.measurements.tasks.items():
        table = statistics.style(task)
        if table is None or facts.style is None:
            continue
        found[task] = {
            "floor": interval("value", table.floor),
            "ceiling": interval("value", table.ceiling),
            "apart": interval("value", table.apart),
            "writers": facts.style.scorer.writers,
            "words": facts.style.words,
            "judged": [facts.style.judged, len(facts.style.examples)],
            "rows": [
                {
                    "method": row.method,
                    **interval("value", row.score),
                    "above_floor": interval("value", row.above_floor),
                    "place": interval("value", row.place),
                }
                for row in table.rows
            ],
        }
    return {"style": found} if found else {}


def _transfer(base: str, labels: tuple[str, str, str, str], found: Transfer) -> dict[str, Any]:
    method, generic, own, own_generic = labels
    return {
        "base": base,
        "method": method,
        "generic": generic,
        "own": own,
        "own_generic": own_generic,
        "gain": interval("value", found.gain),
        "own_gain": interval("value", found.own_gain),
    } | interval("share", found.share)


def interval(name: str, estimate: Estimate) -> dict[str, float | None]:
    """Return an estimate as it stands in `results.json`, its value under `name`."""
    return {
        name: round_or_none(estimate.value),
        "low": round_or_none(estimate.low),
        "high": round_or_none(estimate.high),
    }


def round_or_none(value: float) -> float | None:
    """Round to `DIGITS` places, without minus zero; None for nan and infinity, which JSON lacks."""
    return round(value, DIGITS) + 0.0 if math.isfinite(value) else None
