"""`personakit data`: makes the built-in benchmark; imports, checks and shows data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from personakit.cli.command import command, group
from personakit.cli.options import Columns, Limit, Seed, Split, Task, parse_columns
from personakit.cli.output import Result, escaped, note, table

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.data.imports import ImportReport, SplitCounts
    from personakit.data.skips import SkipCount

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
    return Result(document, lambda out: out.print(escaped(str(folder))))


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
            "dolly, self-instruct, conversations or prompt-completion; by default detected from the file.",
        ),
    ] = None,
    task: Task = None,
    seed: Seed = 0,
    column: Columns = None,
    split_by: Annotated[
        str | None,
        typer.Option(
            "--split-by",
            metavar="WHAT",
            help="Split preferences by user, or by prompt if the users are a few personas; by default "
            "detected from the file.",
        ),
    ] = None,
    fold: Annotated[
        str | None,
        typer.Option(
            "--fold",
            metavar="K/N",
            help="Test the K-th of N parts of the users, so that N folders test everybody once; of reviews, "
            "rewrites, histories and preferences.",
        ),
    ] = None,
    min_items: Annotated[
        int,
        typer.Option(
            "--min-items",
            metavar="N",
            min=0,
            help="Users with fewer items than this are for training only; of reviews, rewrites and "
            "histories.",
        ),
    ] = 0,
    queries: Annotated[
        int,
        typer.Option(
            "--queries",
            metavar="N",
            min=1,
            help="At most N queries of each training user, more examples of few users; of reviews and "
            "histories. Rewrites are all queries.",
        ),
    ] = 1,
) -> Result:
    """Convert reviews, rewrites, a history, preferences, instructions or LaMP files to a data folder.

    Splits are by user, so test users are not in training. Dropped rows are counted.
    """
    from personakit.data.imports import import_data
    from personakit.data.splitting import SplitPlan, parse_fold

    report = import_data(
        source,
        output or Path("imported") / source.stem,
        format=format,
        task=task,
        columns=parse_columns(column),
        split_by=cast(Any, split_by),  # checked by `import_data`
        plan=SplitPlan(seed, None if fold is None else parse_fold(fold), min_items, queries),
    )
    if report.format == "history" and sum(each.users for each in _splits(report)) == 1:
        note("all rows belong to one user, so only one split has queries (--column user_id=COLUMN)")
    return Result(asdict(report), lambda out: _print_import(out, report))


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
    from personakit.cli.data_show import show_instructions, show_preferences, show_questions
    from personakit.data.lookup import ProfileLookup, data_kind

    kind = data_kind(path, task)
    if kind == "instructions":
        return show_instructions(path, split, limit)
    lookup = ProfileLookup(path, split, user, preferences=kind == "preferences")
    return show_preferences(lookup, limit) if lookup.preferences else show_questions(lookup, task, limit)


def _values(record: object, names: Sequence[str]) -> list[Any]:
    return [getattr(record, name) for name in names]


def _titles(names: Sequence[str]) -> list[str]:
    return [name.replace("_", " ") for name in names]


def _splits(report: ImportReport) -> list[SplitCounts]:
    return [each for splits in report.tasks.values() for each in splits.values()]


def _print_import(out: Console, report: ImportReport) -> None:
    preferences, instructions = report.preferences, report.instructions
    for reason, found in report.read.items():
        out.print(escaped(f"{found.count} {reason} (first: {found.first})"))
    if preferences is not None:
        counts = [
            (split, each.users, each.pairs, each.signal_pairs, each.other_signals)
            for split, each in preferences.splits.items()
        ]
        table(out, (preferences.format, "users", "held-out pairs", "signal pairs", "other signals"), counts)
        _print_skipped(out, preferences.skipped)
        kept = f"kept {preferences.kept} of {preferences.pairs} pairs in {preferences.rows} rows"
        out.print(f"{kept}, split by {preferences.split_by}")
    elif instructions is not None:
        table(out, (instructions.format, "instructions"), instructions.splits.items())
        _print_skipped(out, instructions.skipped)
        if instructions.near_duplicates:
            out.print(f"{instructions.near_duplicates} near-duplicates are in the split of what they repeat")
        out.print(f"kept {instructions.kept} of {instructions.read} instructions")
    else:
        rows = [
            (name, split, each.queries, each.users, each.empty_profiles, each.items)
            for name, splits in report.tasks.items()
            for split, each in splits.items()
        ]
        table(out, ("task", "split", "queries", "users", "empty profiles", "items"), rows)
        for name, reasons in report.dropped.items():
            for reason, count in reasons.items():
                out.print(f"{name}: dropped {count} {reason}")
        for name, count in report.drawn.items():
            if count:
                out.print(f"{name}: {count} users have no dates, so their query was drawn at random")
    out.print(escaped(str(report.output)))


def _print_skipped(out: Console, skipped: Mapping[str, SkipCount]) -> None:
    for reason, skip in skipped.items():
        out.print(escaped(f"skipped {skip.count} {reason} (first: {skip.first})"))
