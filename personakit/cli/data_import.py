"""`personakit data import`: converts files to a data folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from personakit.cli.options import Columns, Seed, Task, parse_columns
from personakit.cli.output import Result, escaped, note, table

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.data.imports import ImportReport, SplitCounts
    from personakit.data.own.importing import OwnReport
    from personakit.data.skips import SkipCount


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """The options of one import."""

    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A file or folder; see docs/data.md.")]
    output: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="A new folder; by default imported/NAME.")
    ] = None
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="lamp, reviews, rewriting, history, preferences, alignx, fspo, synthesizeme, trl, alpaca, "
            "dolly, self-instruct, conversations or prompt-completion; of own texts git, mail, chatgpt, "
            "telegram, slack, whatsapp, notes, pairs or profile; by default detected from the content.",
        ),
    ] = None
    me: Annotated[
        list[str] | None,
        typer.Option(
            "--me",
            metavar="WHO",
            help="Of own texts: whose they are, a name or an address, or a part of one that only one writer "
            "has. Repeat it for several addresses of one person. Without it, several writers are listed.",
        ),
    ] = None
    keep_names: Annotated[
        bool,
        typer.Option(
            "--keep-names",
            help="Keep other people's names, addresses and numbers, else replaced; of own texts.",
        ),
    ] = False
    task: Task = None
    seed: Seed = 0
    column: Columns = None
    split_by: Annotated[
        str | None,
        typer.Option(
            "--split-by",
            metavar="WHAT",
            help="Split preferences by user, or by prompt if the users are a few personas; by default "
            "detected from the file.",
        ),
    ] = None
    fold: Annotated[
        str | None,
        typer.Option(
            "--fold",
            metavar="K/N",
            help="Test the K-th of N parts of the users, so that N folders test everybody once; of reviews, "
            "rewrites, histories and preferences.",
        ),
    ] = None
    min_items: Annotated[
        int,
        typer.Option(
            "--min-items",
            metavar="N",
            min=0,
            help="Users with fewer items than this are for training only; of reviews, rewrites and "
            "histories.",
        ),
    ] = 0
    queries: Annotated[
        int,
        typer.Option(
            "--queries",
            metavar="N",
            min=1,
            help="At most N queries of each training user, more examples of few users; of reviews and "
            "histories. Rewrites are all queries.",
        ),
    ] = 1


def import_data(options: ImportOptions) -> Result:
    """Convert own texts, reviews, rewrites, preferences, instructions or LaMP to a data folder.

    Splits are by user, so test users are not in training. Of one person's own texts (mail, chats, a git
    history, notes, pairs of draft and final text) the newest are held out, and the folder also has a profile
    for `infer --profile` and a style card. What is dropped is counted.
    """
    from personakit.data.imports import import_data
    from personakit.data.own.importing import OwnChoice
    from personakit.data.splitting import SplitPlan, parse_fold

    report = import_data(
        options.source,
        options.output or Path("imported") / options.source.resolve().stem,
        format=options.format,
        task=options.task,
        columns=parse_columns(options.column),
        split_by=cast(Any, options.split_by),  # checked by `import_data`
        plan=SplitPlan(
            options.seed,
            None if options.fold is None else parse_fold(options.fold),
            options.min_items,
            options.queries,
        ),
        own=OwnChoice(tuple(options.me or ()), options.keep_names),
    )
    if report.format == "history" and sum(each.users for each in _splits(report)) == 1:
        note("all rows belong to one user, so only one split has queries (--column user_id=COLUMN)")
    return Result(asdict(report), lambda out: _print_import(out, report))


def _splits(report: ImportReport) -> list[SplitCounts]:
    return [each for splits in report.tasks.values() for each in splits.values()]


def _print_import(out: Console, report: ImportReport) -> None:
    from personakit.data.own.held_out import MIN_QUERIES
    from personakit.data.skips import counted

    preferences, instructions = report.preferences, report.instructions
    if report.own is not None:
        _print_own(out, report.own)
    for reason, found in report.read.items():
        out.print(escaped(f"{counted(found.count, reason)} (first: {found.first})"))
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
            what = "near-duplicates put in the split of what they repeat"
            out.print(counted(instructions.near_duplicates, what))
        out.print(f"kept {instructions.kept} of {instructions.read} instructions")
    else:
        rows = [
            (name, split, each.queries, each.users, each.empty_profiles, each.items)
            for name, splits in report.tasks.items()
            for split, each in splits.items()
        ]
        empty = f"no held-out queries: fewer than {MIN_QUERIES} texts have a request, or a draft"
        table(out, ("task", "split", "queries", "users", "empty profiles", "items"), rows, empty=empty)
        for name, reasons in report.dropped.items():
            for reason, count in reasons.items():
                out.print(f"{name}: dropped {counted(count, reason)}")
        for name, count in report.drawn.items():
            if count:
                out.print(f"{name}: {counted(count, 'queries')} of users without dates, drawn at random")
    out.print(escaped(str(report.output)))


def _print_skipped(out: Console, skipped: Mapping[str, SkipCount]) -> None:
    from personakit.data.skips import counted

    for reason, skip in skipped.items():
        out.print(escaped(f"skipped {counted(skip.count, reason)} (first: {skip.first})"))


def _print_own(out: Console, own: OwnReport) -> None:
    from personakit.data.skips import counted

    dates = "" if own.first is None or own.last is None else f", {own.first[:10]} to {own.last[:10]}"
    out.print(escaped(f"{own.writer}: {own.texts} of {own.read} texts kept{dates}"))
    for reason, skip in own.skipped.items():
        out.print(escaped(f"{counted(skip.count, reason)} (first: {skip.first})"))
    out.print(f"{own.requests} of them with a request, {own.drafts} with a draft")
    for kind, distinct in own.distinct.items():
        if distinct:
            out.print(f"replaced {counted(distinct, kind)} in {counted(own.replaced[kind], 'places')}")
