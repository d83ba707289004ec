"""`personakit runs`: lists the training runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from personakit.cli.command import command
from personakit.cli.output import Result, table


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "runs")(runs)


def runs(
    root: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder that holds the runs.")] = Path(
        "runs"
    ),
) -> Result:
    """List the runs, newest first."""
    from personakit.errors import UserError
    from personakit.training.run import find_runs

    if not root.is_dir() and root != Path("runs"):
        raise UserError(f"{root}: no such folder", hint="personakit runs lists those in runs/")
    found = find_runs(root)
    document = [asdict(run) | {"folder": str(run.folder)} for run in found]
    rows = [(run.folder, run.method, run.status, run.created[:19], round(run.seconds)) for run in found]
    columns = ("folder", "method", "status", "created (UTC)", "seconds")
    empty = f"no runs in {root}/: personakit train rpo makes one"
    return Result(document, lambda out: table(out, columns, rows, empty=empty))
