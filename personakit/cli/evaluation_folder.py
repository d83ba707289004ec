"""The folder of an evaluation: where it is, what it was begun with, looks at test, how far it is."""

from __future__ import annotations

import contextlib
import datetime
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from personakit.cli.output import note
from personakit.errors import UserError

ROOT = Path("runs")
PLAN_FILE = "plan.json"


def folder_for(suite: str, split: str, output: Path | None, *, resume: bool) -> Path:
    """Return the folder to evaluate into: `output`, else a new one in `runs/`, or the last one to resume.

    That is the last one stopped, or, where none was, the last one with answers that failed.

    Raises `UserError` where an evaluation is there that was not asked to go on, and the other way round.
    """
    if output is not None:
        if (output / "samples.jsonl").exists() and not resume:
            raise UserError(
                f"{output}: there is an evaluation already",
                hint="--resume goes on with it; else choose another folder",
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
            f"--resume: no stopped evaluation {ROOT / name}-*, nor one with answers that failed",
            hint="name its folder with --output",
        )
    return ROOT / f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def _was_stopped(folder: Path) -> bool:
    # The page is written last of all.
    return not (folder / "report.html").exists() or "partial" in _results(folder)


def _has_failed_answers(folder: Path) -> bool:
    results = _results(folder)
    judged = results.get("judged", {}).get("failed", {})
    return any(judged.values()) or any(row.get("errors") for row in results.get("rows", ()))


def _results(folder: Path) -> dict[str, Any]:
    try:
        results: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return results


def tell_failed(failed: int, folder: Path) -> None:
    """Say how many requests have no answer, and what asks for them again."""
    if failed:
        note(f"{failed} requests failed and have no answer; this asks for them again: {again(folder)}")


def begin(folder: Path, made_by: dict[str, Any], *, tasks: Sequence[str], methods: Sequence[str]) -> int:
    """Write down what the answers will rest on, and a look at test; return how many looks that makes.

    `made_by` is what the results say of it: suite, split, runs and all else. Raises `UserError` where the
    folder was begun with something else: the log's own check knows methods, seeds and queries; not which run,
    base or data they came from. In this order, as a refused call is no look.
    """
    _keep_plan(folder, made_by)
    runs = [Path(run) for run in made_by["runs"]]
    return _record_looks(
        f"eval {made_by['suite']}", made_by["split"], folder, runs, tasks=tasks, methods=methods
    )


def _keep_plan(folder: Path, made_by: dict[str, Any]) -> None:
    from personakit.files import write_json

    path = folder / PLAN_FILE
    if not (folder / "samples.jsonl").exists() or not path.exists():
        # Beside what is compared: the command, which may differ when it is gone on with.
        write_json(path, {**made_by, "command": shlex.join(["personakit", *sys.argv[1:]])})
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    now = json.loads(json.dumps(made_by))
    for key in now:
        if before.get(key) != now[key]:
            raise UserError(
                f"{folder} was begun with {key} {json.dumps(before.get(key))}, "
                f"now it is {json.dumps(now[key])}",
                hint="resume with what it was begun with, or evaluate into another folder",
            )


def begun_with(folder: Path) -> str | None:
    """Return the command that an evaluation was begun with, None where nobody knows."""
    try:
        plan = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(plan["command"]) if "command" in plan else None


def run_account(run: Path) -> str:
    """Return what a run says of itself, for a page: versions, commit, data, and its whole configuration."""
    told = []
    try:
        facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
        for name in ("status", "created", "seed", "seconds", "git_commit", "data_fingerprint", "device"):
            if facts.get(name) is not None:
                told.append(f"{name}: {facts[name]}")
        told += [f"{name} {version}" for name, version in facts.get("versions", {}).items()]
        told += ["", (run / "config.yaml").read_text(encoding="utf-8").strip()]
    except (OSError, ValueError):
        return "\n".join(told)
    return "\n".join(told)


def write_evaluation_page(
    folder: Path,
    results: dict[str, Any],
    *,
    baseline: str,
    shown: Sequence[str] | None,
    runs: Mapping[str, Path],
    looks: int,
) -> Path:
    """Write the report of an evaluation, with what its runs and the folder say of themselves."""
    from personakit.evaluation.report import REPORT_FILE, write_report
    from personakit.evaluation.samples import SAMPLES_FILE

    made_by = results["made_by"]
    return write_report(
        folder / REPORT_FILE,
        results,
        folder / SAMPLES_FILE,
        title=f"{made_by['suite']}, {made_by['split']} split",
        baseline=baseline,
        shown=shown,
        training={
            name: run / "metrics.jsonl" for name, run in runs.items() if (run / "metrics.jsonl").is_file()
        },
        test_looks=looks,
        runs={name: account for name, run in runs.items() if (account := run_account(run))},
        command=begun_with(folder),
    )


def _record_looks(
    command: str,
    split: str,
    folder: Path,
    runs: Sequence[Path],
    *,
    tasks: Sequence[str],
    methods: Sequence[str],
) -> int:
    """Note a look at test in every run's folder, and return the most that one of them has had.

    An evaluation that goes on was noted when it began.
    """
    from personakit.evaluation.results import count_test_looks, record_test_look

    if split != "test":
        return 0
    if (folder / "samples.jsonl").exists():
        return max((count_test_looks(run) for run in runs), default=0)
    counts = [
        record_test_look(run, command=f"personakit {command}", tasks=tasks, methods=methods) for run in runs
    ]
    return max(counts, default=0)


def again(folder: Path) -> str:
    """Return the command that goes on with this one."""
    said = sys.argv[1:]
    if "--output" not in said:
        said = [*said, "--output", str(folder)]
    return shlex.join(["personakit", *(word for word in said if word != "--resume"), "--resume"])


@contextlib.contextmanager
def told() -> Iterator[Callable[[int, int], None]]:
    """Tell how far the answers are."""
    from personakit.training.progress import choose_progress

    progress = choose_progress()
    latest, all_ = -1, -1

    def tell(done: int, total: int) -> None:
        nonlocal latest, all_
        if total != all_ or done < latest:  # another log's answers begin
            progress.finish()
            progress.start("answers", total, done)
        latest, all_ = done, total
        progress.update(done)

    try:
        yield tell
    finally:
        progress.finish()
