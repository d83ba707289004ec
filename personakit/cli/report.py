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
    typer.Argument(metavar="DIR", help="Folders that `personakit eval` wrote; by default the newest."),
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "report")(report)


def report(folders: Folders = None) -> Result:
    """Write report.html of an evaluation again."""
    from personakit.cli.evaluating import write_page
    from personakit.cli.evaluation_folder import ROOT
    from personakit.cli.instruction_evaluating import SUITE, write_instruction_page

    chosen = folders or sorted(ROOT.glob("eval-*/results.json"), key=lambda path: path.stat().st_mtime)[-1:]
    if not chosen:
        raise UserError("there is no evaluation in runs/", hint="personakit eval lamp makes one")
    pages = []
    for folder in chosen:
        folder = folder.parent if folder.name == "results.json" else folder
        results = _results(folder)
        runs = {name: Path(name) for name in results["made_by"]["runs"]}
        write = write_instruction_page if results["made_by"]["suite"] == SUITE else write_page
        pages.append(write(folder, results, runs=runs, looks=_looks(results, runs)))
    return Result(
        [{"report": str(page)} for page in pages],
        lambda out: out.print("\n".join(harmless(str(page)) for page in pages)),
    )


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
