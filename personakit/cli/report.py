"""`personakit report`: writes the page of an evaluation or a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from personakit.cli.command import command
from personakit.cli.output import Result, escaped
from personakit.errors import UserError

Folders = Annotated[
    list[Path] | None,
    typer.Argument(metavar="DIR", help="Folders that eval or train wrote; by default the newest evaluation."),
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "report")(report)


def report(folders: Folders = None) -> Result:
    """Write report.html of an evaluation (again), or of a training run."""
    from personakit.suites.folder import ROOT, read_results, write_page

    chosen = folders or sorted(ROOT.glob("eval-*/results.json"), key=lambda path: path.stat().st_mtime)[-1:]
    if not chosen:
        raise UserError("there is no evaluation in runs/", hint="personakit eval lamp makes one")
    pages = []
    for folder in chosen:
        folder = folder.parent if folder.name == "results.json" else folder
        if (folder / "run.json").is_file() and not (folder / "results.json").is_file():
            pages.append(_of_training(folder))
            continue
        pages.append(write_page(folder, read_results(folder)))
    return Result(
        [{"report": str(page)} for page in pages],
        lambda out: out.print("\n".join(escaped(str(page)) for page in pages)),
    )


def _of_training(run: Path) -> Path:
    from personakit.evaluation.report import REPORT_FILE, write_training_report
    from personakit.suites.folder import run_account

    return write_training_report(run / REPORT_FILE, str(run), run_account(run))
