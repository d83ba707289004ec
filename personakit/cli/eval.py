"""`personakit eval`: a method against its controls, or prediction files made elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personakit.cli.command import command, group
from personakit.cli.evaluating import Request, evaluate_request
from personakit.cli.options import (
    Bases,
    Concurrency,
    Limit,
    Resume,
    RunData,
    Runs,
    SampleIds,
    Seed,
    Split,
    Tasks,
    at_least_one,
)
from personakit.cli.output import Result, harmless, table
from personakit.cli.preference_evaluating import PreferenceRequest, evaluate_preferences
from personakit.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

app = group("eval", "Evaluate against controls.")


def register(root: typer.Typer) -> None:
    """Add the group to `root`."""
    root.add_typer(app)


Rows = Annotated[
    list[str] | None,
    typer.Option(
        "--baseline",
        metavar="NAME",
        help="Which rows stand beside the method, repeatable: generic, copy, majority, profile, context, "
        "memory, context-tuned, sft, sft-continued, no-curriculum, empty, other, oracle; all: all that data "
        "and run allow, as by default (but memory, which asks the base several times a user).",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Check names and data, and say what a base behind an API would cost; ask nothing."
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Stop before the first answer where a query leaks: its answer or its text is in the user's "
        "history, the user is in the training split, or a run was trained on it. Else leaks are told.",
    ),
]
Curves = Annotated[
    list[str] | None,
    typer.Option(
        "--curve",
        metavar="KIND",
        help="Score against history: the newest 0, 1, 2, 4, 8, 16 items (cold start); or k: items retrieved; "
        "repeatable. Every point is a pass of its own.",
    ),
]
Published = Annotated[
    str | None,
    typer.Option(
        "--published",
        metavar="SPLIT",
        help="Show LaMP's leaderboard too: user or time. By default where the data is LaMP's own.",
    ),
]
NoRun = Annotated[bool, typer.Option("--no-run", help="Baselines only, of --base.")]
PreferenceRows = Annotated[
    list[str] | None,
    typer.Option(
        "--baseline",
        metavar="NAME",
        help="Which rows stand beside POPI, repeatable: base, length, persona-lookup, population, "
        "lora-per-user, history, history-recent, history-bm25, prompted, frozen-generator, other, oracle. By "
        "default all that data and run allow.",
    ),
]
Frozen = Annotated[
    list[str] | None,
    typer.Option(
        "--base",
        metavar="MODEL",
        help="A frozen model that never saw a summary, repeatable: what it prefers with and without POPI's, "
        "and the share of POPI's gain that it keeps.",
    ),
]
PreferenceData = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="lamp-mini, or a folder of imported preferences; by default the run's own data.",
    ),
]
PreferenceJudge = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="MODEL",
        help="Also answer each user's first held-out request: a model that is told of the user sets every "
        "answer against that of a row that is not, in both orders.",
    ),
]
PerUser = Annotated[
    bool,
    typer.Option(
        "--per-user/--no-per-user",
        help="Whether a row is among them that trains a LoRA adapter for every user, which takes longest.",
    ),
]
UserLimit = Annotated[
    int | None, typer.Option("--limit", metavar="N", callback=at_least_one, help="At most N users.")
]
Output = Annotated[
    Path | None, typer.Option("--output", metavar="DIR", help="A new folder; by default one in runs/.")
]
Predictions = Annotated[
    Path | None,
    typer.Option("--predictions", metavar="FILE", help="Score this file (or folder of seven) and exit."),
]
Golds = Annotated[Path | None, typer.Option("--golds", metavar="FILE", help="The golds of --predictions.")]
PillowRuns = Annotated[
    list[Path] | None,
    typer.Option("--run", metavar="DIR", help="A PILLOW run's folder; repeatable; by default the newest."),
]
InstructionRows = Annotated[
    list[str] | None,
    typer.Option(
        "--baseline",
        metavar="NAME",
        help="Which rows stand beside PILLOW, repeatable: alone, random, cosine, mmr, best-of, greedy, full. "
        "By default all that the run allows.",
    ),
]
InstructionData = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="PATH", help="lamp-mini, or a data folder; by default the run's own data."
    ),
]
Judge = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="MODEL",
        help="A model that sets every answer against that of the model alone, in both orders.",
    ),
]
Variants = Annotated[
    bool,
    typer.Option(
        "--variants/--no-variants", help="Also other numbers of prompts, and the picks in another order."
    ),
]


@command(app, "lamp")
def lamp(
    run: Runs = None,
    no_run: NoRun = False,
    base: Bases = None,
    baseline: Rows = None,
    data: RunData = None,
    task: Tasks = None,
    split: Split = "dev",
    limit: Limit = None,
    seed: Seed = 0,
    output: Output = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    strict: Strict = False,
    curve: Curves = None,
    sample_id: SampleIds = None,
    concurrency: Concurrency = None,
    published: Published = None,
    predictions: Predictions = None,
    golds: Golds = None,
) -> Result:
    """Evaluate on LaMP's tasks by LaMP's rules.

    Several --run that differ in their seed are one row, with intervals over users and seeds. Writes
    results.json, every sample, prediction files in LaMP's format, and report.html. Work on dev: a look
    at test is recorded in the run.
    """
    if predictions is not None or golds is not None:
        return _score(predictions, golds)
    request = Request(
        "lamp",
        run or [],
        no_run,
        base or [],
        baseline,
        data,
        task,
        split,
        limit,
        seed,
        output,
        resume,
        dry_run,
        strict,
        curve or (),
        sample_id or (),
        concurrency,
        published,
    )
    return evaluate_request(request)


@command(app, "rewriting")
def rewriting(
    run: Runs = None,
    no_run: NoRun = False,
    base: Bases = None,
    baseline: Rows = None,
    data: RunData = None,
    split: Split = "dev",
    limit: Limit = None,
    seed: Seed = 0,
    output: Output = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    strict: Strict = False,
    curve: Curves = None,
    sample_id: SampleIds = None,
    concurrency: Concurrency = None,
) -> Result:
    """Evaluate on people's rewrites of texts.

    ROUGE-L and edit distance to what the user wrote, beside the row that copies the original.
    """
    tasks = ["rewriting"]
    request = Request(
        "rewriting",
        run or [],
        no_run,
        base or [],
        baseline,
        data,
        tasks,
        split,
        limit,
        seed,
        output,
        resume,
        dry_run,
        strict,
        curve or (),
        sample_id or (),
        concurrency,
    )
    return evaluate_request(request)


@command(app, "preference")
def preference(
    run: Runs = None,
    base: Frozen = None,
    baseline: PreferenceRows = None,
    data: PreferenceData = None,
    split: Split = "dev",
    limit: UserLimit = None,
    seed: Seed = 0,
    output: Output = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    judge: PreferenceJudge = None,
    per_user: PerUser = True,
    strict: Strict = False,
) -> Result:
    """Evaluate on held-out pairs: is what this user preferred favoured, and what does knowing them cost?

    Several --run that differ in their seed are one row, with intervals over users and seeds. Writes
    results.json, every pair's margin and report.html. Work on dev: a look at test is recorded in the run.
    """
    request = PreferenceRequest(
        run or [],
        base or [],
        baseline,
        data,
        split,
        limit,
        seed,
        output,
        resume,
        dry_run,
        judge,
        per_user,
        strict,
    )
    return evaluate_preferences(request)


@command(app, "instruction")
def instruction(
    run: PillowRuns = None,
    baseline: InstructionRows = None,
    data: InstructionData = None,
    split: Split = "dev",
    limit: Limit = None,
    judge: Judge = None,
    variants: Variants = True,
    seed: Seed = 0,
    output: Output = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    strict: Strict = False,
) -> Result:
    """Evaluate what picks prompts for instructions (PILLOW) against what else could.

    Several --run that differ in their seed are one row, with intervals over instructions and seeds. Beside
    scores stand what training took, how many prompts pay, in which order, and which for what. Work on dev: a
    look at test is recorded in the run.
    """
    from personakit.cli.instruction_evaluating import InstructionRequest, evaluate_instructions

    request = InstructionRequest(
        run or [], baseline, data, split, limit, seed, output, resume, dry_run, judge, variants, strict
    )
    return evaluate_instructions(request)


def _score(predictions: Path | None, golds: Path | None) -> Result:
    """Score files made elsewhere."""
    from personakit.tasks.predictions import score_files, score_folders

    if predictions is None or golds is None:
        raise UserError(
            f"--{'golds' if predictions is None else 'predictions'} was given alone, expected both",
            hint="personakit eval lamp --predictions FILE --golds FILE",
        )
    if predictions.is_dir() and golds.is_dir():
        benchmark = score_folders(predictions, golds)
        reports, primary = list(benchmark.reports.values()), benchmark.primary
    else:
        reports, primary = [score_files(predictions, golds)], None
    document: dict[str, Any] = {"scores": [asdict(report) for report in reports]}
    if primary is not None:
        document["primary"] = primary
    rows = [
        (report.task, metric, value, report.examples)
        for report in reports
        for metric, value in report.metrics.items()
    ]

    def show(out: Console) -> None:
        table(out, ("task", "metric", "value", "examples"), rows)
        if primary is not None:
            out.print(f"primary figure (mean of accuracy, 1 - MAE/4 and ROUGE-1): {primary:.4f}")
        for report in reports:
            for warning in report.warnings:
                out.print(f"warning: {harmless(warning)}")

    return Result(document, show)
