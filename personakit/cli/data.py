"""`personakit data`: make the built-in benchmark, import one's own data, check it and look at it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personakit.cli.command import command, group
from personakit.cli.options import Columns, Limit, Seed, Split, Task
from personakit.cli.output import Result, harmless, note, shortened, table

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.data.preferences import PreferenceReport
    from personakit.records import Example

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
            help="How hard it is; repeatable: noise, gold_noise, rating_noise, history (A,B), "
            "interests, usual",
        ),
    ] = None,
) -> Result:
    """Write the built-in benchmark, lamp-mini.

    Another seed makes other users and texts of the same kind: another benchmark, to see whether a
    result holds there too.
    """
    from personakit.data import available, lamp_mini
    from personakit.errors import UserError

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
    return Result(document, lambda out: out.print(harmless(str(folder))))


@command(app, "import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A file or folder; see docs/data.md.")],
    output: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="A new folder; by default imported/NAME.")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="lamp, reviews, rewriting, history, preferences, alignx, fspo, synthesizeme, trl, alpaca, "
            "dolly or self-instruct; by default read off the file.",
        ),
    ] = None,
    task: Task = None,
    seed: Seed = 0,
    column: Columns = None,
    user_column: Annotated[
        str | None, typer.Option("--user-column", metavar="COLUMN", help="Which column names the user.")
    ] = None,
    date_column: Annotated[
        str | None, typer.Option("--date-column", metavar="COLUMN", help="Which column holds dates.")
    ] = None,
    split_by: Annotated[
        str | None,
        typer.Option(
            "--split-by",
            metavar="WHAT",
            help="What of preferences is split: user, or prompt where the users are a few personas; by "
            "default read off the file.",
        ),
    ] = None,
) -> Result:
    """Bring reviews, rewrites, a history, preferences, instructions or LaMP's own files into a data folder.

    Users are split, not items: a test user is new. What is dropped is counted.
    """
    from personakit.cli.histories import parse_columns
    from personakit.data.imports import import_data

    report = import_data(
        source,
        output or Path("imported") / source.stem,
        format=format,
        task=task,
        seed=seed,
        columns=parse_columns(column) or None,
        user_column=user_column,
        date_column=date_column,
        split_by=split_by,
    )
    if report.preferences is not None:
        preferences = report.preferences
        return Result(asdict(report), lambda out: _show_import(out, preferences, report.output))
    if report.instructions is not None:
        from personakit.cli.instructions import show_import

        instructions = report.instructions
        return Result(asdict(report), lambda out: show_import(out, instructions, report.output))
    if (
        report.format == "history"
        and sum(each.users for each in next(iter(report.tasks.values())).values()) == 1
    ):
        note("all rows are one user's, so only one split has queries (--user-column names whose a row is)")
    rows = [
        (name, split, each.queries, each.users, each.empty_profiles, each.items)
        for name, splits in report.tasks.items()
        for split, each in splits.items()
    ]

    def show(out: Console) -> None:
        table(out, ("task", "split", "queries", "users", "empty profiles", "items"), rows)
        for name, reasons in report.dropped.items():
            for reason, count in reasons.items():
                out.print(f"{name}: dropped {count} {reason}")
        out.print(harmless(str(report.output)))

    return Result(asdict(report), show)


@command(app, "check")
def check(path: Folder = "lamp-mini") -> Result:
    """Read all of a data folder and say what would spoil an experiment.

    What is not in its format is an error; what is allowed and still suspicious is a warning.
    """
    from personakit.data.check import check_data

    report = check_data(path)
    rows = [
        (one.task, one.split, one.queries, one.users, one.golds, one.empty_profiles, one.items["median"])
        for one in report.splits
    ]

    def show(out: Console) -> None:
        columns = ("task", "split", "queries", "users", "golds", "empty profiles", "median items")
        if rows:
            table(out, columns, rows)
        if report.preferences:
            names = ("split", "users", "pairs", "signal_pairs", "comments", "about", "items", "personas")
            held = [[getattr(one, name) for name in names] for one in report.preferences]
            table(out, ["preferences", *(name.replace("_", " ") for name in names[1:])], held)
        if report.instructions:
            names = ("split", "instructions", "with_input", "kinds", "answer_words", "kept_out")
            held = [[getattr(one, name) for name in names] for one in report.instructions]
            table(out, ["instructions", *(name.replace("_", " ") for name in names[1:])], held)
        for warning in report.warnings:
            out.print(f"warning: {harmless(warning)}")

    return Result(asdict(report), show)


@command(app, "show")
def show(
    path: Folder = "lamp-mini",
    task: Task = None,
    split: Split = "dev",
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="By default the first.")] = None,
    limit: Limit = None,
) -> Result:
    """Show one user's history and queries.

    With `--task preferences` their signals and held-out pairs, with `--task instructions` instructions and
    the pool of prompts.
    """
    from personakit.cli.histories import Histories
    from personakit.cli.instructions import show_instructions, wants_instructions
    from personakit.cli.preferences import show_preferences, wants_preferences

    if wants_preferences(path, task):
        return show_preferences(path, split, user=user, limit=limit)

    if wants_instructions(path, task):
        return show_instructions(path, split, limit=limit)

    examples = Histories(path, split, user=user).examples_of_user(task)
    shown = examples[:limit]
    first = shown[0]
    note(f"{path}, {first.query.task}, {split}: {len(examples)} queries of this user")
    return Result(_document(shown), lambda out: _show(out, shown))


def _show_import(out: Console, report: PreferenceReport, output: Path) -> None:
    counts = [
        (split, each.users, each.pairs, each.signal_pairs, each.other_signals)
        for split, each in report.splits.items()
    ]
    table(out, (report.format, "users", "held-out pairs", "signal pairs", "other signals"), counts)
    for reason, skip in report.skipped.items():
        out.print(harmless(f"skipped {skip.count} {reason} (first: {skip.first})"))
    out.print(f"kept {report.kept} of {report.pairs} pairs in {report.rows} rows, split by {report.split_by}")
    out.print(harmless(str(output)))


def _document(examples: list[Example]) -> dict[str, Any]:
    first = examples[0]
    return {
        "user": first.query.user_id,
        "task": first.query.task,
        "queries": [
            {"id": one.query.id, "query": one.query.text, "gold": one.query.gold} for one in examples
        ],
        "profile": [{"id": item.id, "date": item.date, **item.fields} for item in first.profile.items],
    }


def _show(out: Console, examples: list[Example]) -> None:
    first = examples[0]
    out.print(f"user {harmless(first.query.user_id)}, {len(first.profile.items)} items")
    for number, item in enumerate(first.profile.items, start=1):
        date = f"{item.date}  " if item.date else ""
        fields = "  ".join(f"{key}: {shortened(value, 160)}" for key, value in item.fields.items())
        out.print(f"{number:4}. {harmless(date + fields)}")
    for one in examples:
        out.print(f"query {harmless(one.query.id)}: {harmless(one.query.text)}")
        if one.query.gold is not None:
            out.print(f"gold  {harmless(one.query.gold)}")
