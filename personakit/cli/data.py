"""`personakit data`: makes the built-in benchmark; imports, checks and shows data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personakit.cli.command import command, group
from personakit.cli.data_import import ImportOptions, import_data
from personakit.cli.options import Columns, Limit, Split, Task, parse_columns
from personakit.cli.output import Result, escaped, table
from personakit.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

app = group("data", "Make, import, check and show data.")


def register(root: typer.Typer) -> None:
    """Add the group to `root`."""
    root.add_typer(app)


Folder = Annotated[str, typer.Argument(metavar="PATH", help="lamp-mini, or a data folder.")]


@command(app, "make")
def make(
    output: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="A new folder; by default the cache.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="By default that of the standard benchmark.")
    ] = None,
    knob: Annotated[
        list[str] | None,
        typer.Option(
            "--knob",
            metavar="NAME=VALUE",
            help="A difficulty setting; repeatable: noise, gold_noise, rating_noise, history (A,B), "
            "interests, usual",
        ),
    ] = None,
) -> Result:
    """Write the built-in benchmark, lamp-mini.

    Another seed generates other users and texts from the same distribution, to check that a result does not
    depend on the seed.
    """
    from personakit.data import available, lamp_mini

    chosen = lamp_mini.STANDARD_SEED if seed is None else seed
    knobs = lamp_mini.parse_knobs(knob or [])
    if output is None:
        folder = lamp_mini.folder(chosen, knobs)
    else:
        if output.exists():
            raise UserError(f"{output}: exists already, expected a new folder", hint="choose another name")
        lamp_mini.write_benchmark(output, seed=chosen, knobs=knobs)
        folder = output
    there = available(folder)
    document = {"folder": str(folder), "version": lamp_mini.VERSION, "seed": chosen, "splits": there}
    return Result(document, lambda out: out.print(escaped(str(folder))))


command(app, "import", ImportOptions)(import_data)


@command(app, "check")
def check(path: Folder = "lamp-mini") -> Result:
    """Check the format of a data folder and warn of problems for experiments.

    Format violations are errors; allowed but suspicious data are warnings.
    """
    from personakit.data.check import check_data

    report = check_data(path)
    preferences = ("split", "users", "pairs", "signal_pairs", "comments", "about", "items", "personas")
    instructions = ("split", "instructions", "with_input", "kinds", "answer_words", "kept_out")
    questions = ("task", "split", "queries", "users", "golds", "empty_profiles")

    def show(out: Console) -> None:
        if report.splits:
            rows = [[*_values(each, questions), each.items["median"]] for each in report.splits]
            table(out, [*_titles(questions), "median items"], rows)
        if report.preferences:
            rows = [_values(each, preferences) for each in report.preferences]
            table(out, ["preferences", *_titles(preferences[1:])], rows)
        if report.instructions:
            rows = [_values(each, instructions) for each in report.instructions]
            table(out, ["instructions", *_titles(instructions[1:])], rows)
        for warning in report.warnings:
            out.print(f"warning: {escaped(warning)}")

    return Result(asdict(report), show)


@command(app, "show")
def show(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="lamp-mini, a data folder, or a profile file.")
    ] = "lamp-mini",
    task: Task = None,
    split: Split = "dev",
    user: Annotated[
        str | None, typer.Option("--user", metavar="ID", help="By default the first, of a profile all.")
    ] = None,
    limit: Limit = None,
    column: Columns = None,
) -> Result:
    """Show one user's history and queries.

    With `--task preferences` their signals and held-out pairs, with `--task instructions` instructions and
    the pool of prompts. Of a profile file, its size and the edit rate: how many words of the answers were
    changed, by month, where edits were learned (`infer --learn`).
    """
    from personakit.cli.data_show import show_instructions, show_preferences, show_profile, show_questions
    from personakit.data.lookup import ProfileLookup, data_kind

    if Path(path).is_file():
        if task is not None:
            raise UserError(f"{path} is a profile, which has no task {task}", hint="leave --task out")
        return show_profile(Path(path), user, parse_columns(column))
    if column:
        raise UserError(f"{path} is no profile file: --column is for one", hint="remove the option")
    kind = data_kind(path, task)
    if kind == "instructions":
        return show_instructions(path, split, limit)
    lookup = ProfileLookup(path, split, user, preferences=kind == "preferences")
    return show_preferences(lookup, limit) if lookup.preferences else show_questions(lookup, task, limit)


def _values(record: object, names: Sequence[str]) -> list[Any]:
    return [getattr(record, name) for name in names]


def _titles(names: Sequence[str]) -> list[str]:
    return [name.replace("_", " ") for name in names]
