"""`personakit report`: write an evaluation's page again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from personakit.cli.command import command
from personakit.cli.output import Result, harmless
from personakit.errors import UserError

Folders = Annotated[
    list[Path] | None,
    typer.Argument(metavar="DIR", help="Folders that eval or train wrote; by default the newest evaluation."),
]
TensorBoard = Annotated[
    bool,
    typer.Option(
        "--tensorboard", help="Write a run's metrics as TensorBoard events too, into DIR/tensorboard."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "report")(report)


def report(folders: Folders = None, tensorboard: TensorBoard = False) -> Result:
    """Write report.html of an evaluation again, or that of a training run alone."""
    from personakit.cli.evaluating import write_page
    from personakit.cli.evaluation_folder import ROOT
    from personakit.cli.instruction_evaluating import SUITE, write_instruction_page
    from personakit.training.tensorboard import write_events

    chosen = folders or sorted(ROOT.glob("eval-*/results.json"), key=lambda path: path.stat().st_mtime)[-1:]
    if not chosen:
        raise UserError("there is no evaluation in runs/", hint="personakit eval lamp makes one")
    pages = []
    for folder in chosen:
        folder = folder.parent if folder.name == "results.json" else folder
        if (folder / "run.json").is_file() and not (folder / "results.json").is_file():
            pages.append(_of_training(folder))
            if tensorboard:
                write_events(folder)
            continue
        if tensorboard:
            raise UserError(
                f"--tensorboard: {folder} is no training run",
                hint="name a folder that `personakit train` wrote",
            )
        results = _results(folder)
        runs = {name: Path(name) for name in results["made_by"]["runs"]}
        write = write_instruction_page if results["made_by"]["suite"] == SUITE else write_page
        pages.append(write(folder, results, runs=runs, looks=_looks(results, runs)))
    return Result(
        [{"report": str(page)} for page in pages],
        lambda out: out.print("\n".join(harmless(str(page)) for page in pages)),
    )


def _of_training(run: Path) -> Path:
    from personakit.cli.evaluation_folder import run_account
    from personakit.evaluation.report import REPORT_FILE, write_training_report

    metrics = run / "metrics.jsonl"
    training = {run.name: metrics} if metrics.is_file() else {}
    return write_training_report(run / REPORT_FILE, training, {str(run): run_account(run)})


def _results(folder: Path) -> dict[str, Any]:
    path = folder / "results.json"
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        results["made_by"]["runs"]
    except FileNotFoundError as error:
        raise UserError(
            f"{folder}: no evaluation (it has no results.json)", hint="name a folder that `eval` wrote"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not the results of an evaluation ({error})", hint="evaluate again"
        ) from error
    return results


def _looks(results: dict[str, Any], runs: dict[str, Path]) -> int:
    from personakit.evaluation.results import count_test_looks

    if results["made_by"]["split"] != "test":
        return 0
    return max(map(count_test_looks, runs.values()), default=0)
