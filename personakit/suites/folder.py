"""The folder of an evaluation: where it is, what it was started with, and evaluations on test."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personakit.errors import UserError
from personakit.evaluation.measurements import read_costs
from personakit.evaluation.report import (
    PLOT_FILE,
    REPORT_FILE,
    PageOptions,
    RunAccount,
    write_plot,
    write_report,
)
from personakit.evaluation.results import count_test_looks, record_test_look
from personakit.evaluation.samples import SAMPLES_FILE
from personakit.files import write_json
from personakit.suites import SUITES

ROOT = Path("runs")
PLAN_FILE = "plan.json"


def folder_for(suite: str, split: str, output: Path | None, *, resume: bool) -> Path:
    """Return the folder to evaluate into: `output`, else a new one in `runs/`, or the last one to resume.

    That is the last one that was stopped or, if there is none, the last one with failed answers. Raises
    `UserError` where an evaluation is there that is not to be resumed, or the other way round.
    """
    if output is not None:
        if (output / SAMPLES_FILE).exists() and not resume:
            raise UserError(
                f"{output}: there is an evaluation already",
                hint="--resume continues it; else choose another folder",
            )
        return output
    name = f"eval-{suite}-{split}"
    if resume:
        newest_first = sorted(ROOT.glob(f"{name}-*"), reverse=True)
        for is_open in (_was_stopped, _has_failed_answers):
            for path in newest_first:
                if is_open(path):
                    return path
        raise UserError(
            f"--resume: no stopped evaluation {ROOT / name}-*, nor one with failed answers",
            hint="name its folder with --output",
        )
    stem = f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    names = (stem, *(f"{stem}-{number}" for number in range(2, 100)))  # several may start in one second
    return next(ROOT / each for each in names if not (ROOT / each).exists())


def begin(
    folder: Path, made_by: Mapping[str, Any], *, command: str, tasks: Sequence[str], methods: Sequence[str]
) -> None:
    """Record what the results depend on, and in the runs an evaluation on test.

    Raises `UserError` where the folder was started with something else. The log itself is checked for
    methods, seeds and queries only, not for the run, base model or data they came from.
    """
    _keep_plan(folder, made_by, command)

    if made_by["split"] != "test" or (folder / SAMPLES_FILE).exists():
        return  # a resumed evaluation was recorded when it began
    call = f"personakit eval {made_by['suite']}"
    for run in made_by["runs"]:
        record_test_look(Path(run), command=call, tasks=tasks, methods=methods)


def _keep_plan(folder: Path, made_by: Mapping[str, Any], command: str) -> None:
    path = folder / PLAN_FILE
    if not (folder / SAMPLES_FILE).exists() or not path.exists():
        write_json(path, {**made_by, "command": command})  # the command is not compared
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})", hint="evaluate into another folder") from error
    now = json.loads(json.dumps(made_by))
    for key, value in now.items():
        if key in before and before[key] != value:
            raise UserError(
                f"{folder} was started with {key} {json.dumps(before[key])}, now it is {json.dumps(value)}",
                hint="resume with the same options, or evaluate into another folder",
            )


def read_results(folder: Path) -> dict[str, Any]:
    """Read the results in a folder; raises `UserError` where there are none."""
    path = folder / "results.json"
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        results["made_by"]["runs"]
    except FileNotFoundError as error:
        raise UserError(
            f"{folder}: not an evaluation (it has no results.json)", hint="name a folder that `eval` wrote"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not the results of an evaluation ({error})", hint="evaluate again"
        ) from error
    return results


def write_page(folder: Path, results: Mapping[str, Any]) -> Path:
    """Write the HTML page of an evaluation, and its first plot as SVG, from what is in its folder."""
    made_by = results["made_by"]
    suite = SUITES[made_by["suite"]]
    runs = {name: Path(name) for name in made_by["runs"]}
    looks = [count_test_looks(run) for run in runs.values()] if made_by["split"] == "test" else []
    options = PageOptions(
        title=f"{made_by['suite']}, {made_by['split']} split",
        zero=zero_of(results),
        shown=suite.shown(results) or None,
        runs={name: account for name, run in runs.items() if (account := run_account(run)).text},
        test_looks=max(looks, default=0),
        command=_command_of(folder),
    )
    log = folder / SAMPLES_FILE
    sections = suite.sections(results, read_costs(log))
    write_plot(folder / PLOT_FILE, sections)
    return write_report(folder / REPORT_FILE, results, sections, log, options)


def zero_of(results: Mapping[str, Any]) -> str:
    """Return the label of the row that knows nothing about the user."""
    rows = results["rows"]
    return str(results["made_by"].get("zero") or (rows[0]["method"] if rows else ""))


def run_account(run: Path) -> RunAccount:
    """Return what the page says about a training run: versions, commit, data and its configuration."""
    lines: list[str] = []
    try:
        facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
        for name in ("status", "created", "seed", "seconds", "git_commit", "data_fingerprint", "device"):
            if facts.get(name) is not None:
                lines.append(f"{name}: {facts[name]}")
        lines += [f"{name} {version}" for name, version in facts.get("versions", {}).items()]
        lines += ["", (run / "config.yaml").read_text(encoding="utf-8").strip()]
    except (OSError, ValueError):
        pass  # a run that was moved or deleted since: the page names it only
    metrics = run / "metrics.jsonl"
    return RunAccount("\n".join(lines), metrics if metrics.is_file() else None)


def _command_of(folder: Path) -> str | None:
    try:
        plan = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(plan["command"]) if plan.get("command") else None


def _was_stopped(folder: Path) -> bool:
    # The page is written last.
    return not (folder / "report.html").exists() or "partial" in _results_or_none(folder)


def _has_failed_answers(folder: Path) -> bool:
    results = _results_or_none(folder)
    judged = results.get("judged", {}).get("failed", {})
    failed = bool(results.get("failed")) or any(judged.values())
    return failed or any(row.get("errors") for row in results.get("rows", ()))


def _results_or_none(folder: Path) -> dict[str, Any]:
    try:
        results: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return results
