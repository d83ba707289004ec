"""The options of the commands of `personakit eval`, and what a call of each is: a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

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

Rows = Annotated[
    list[str],
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
InstructionStrict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Stop before the first answer where a run was trained on an instruction. Else that is told.",
    ),
]
Curves = Annotated[
    list[str],
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
    list[str],
    typer.Option(
        "--baseline",
        metavar="NAME",
        help="Which rows stand beside POPI, repeatable: base, length, persona-lookup, population, "
        "lora-per-user, history, history-recent, history-bm25, prompted, frozen-generator, other, oracle. By "
        "default all that data and run allow.",
    ),
]
Frozen = Annotated[
    list[str],
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
    list[Path],
    typer.Option("--run", metavar="DIR", help="A PILLOW run's folder; repeatable; by default the newest."),
]
InstructionRows = Annotated[
    list[str],
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of `personakit eval lamp`, or `eval rewriting`; see the options for what each means."""

    runs: Runs = field(default_factory=list)
    no_run: NoRun = False
    bases: Bases = field(default_factory=list)
    rows: Rows = field(default_factory=list)
    data: RunData = None
    tasks: Tasks = field(default_factory=list)
    split: Split = "dev"
    limit: Limit = None
    seed: Seed = 0
    output: Output = None
    resume: Resume = False
    dry_run: DryRun = False
    strict: Strict = False
    curves: Curves = field(default_factory=list)
    sample_ids: SampleIds = field(default_factory=list)
    concurrency: Concurrency = None
    published: Published = None
    predictions: Predictions = None
    golds: Golds = None
    suite: str = "lamp"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceRequest:
    """One call of `personakit eval preference`; see the options for what each means."""

    runs: Runs = field(default_factory=list)
    bases: Frozen = field(default_factory=list)
    rows: PreferenceRows = field(default_factory=list)
    data: PreferenceData = None
    split: Split = "dev"
    limit: UserLimit = None
    seed: Seed = 0
    output: Output = None
    resume: Resume = False
    dry_run: DryRun = False
    judge: PreferenceJudge = None
    per_user: PerUser = True
    strict: Strict = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionRequest:
    """One call of `personakit eval instruction`; see the options for what each means."""

    runs: PillowRuns = field(default_factory=list)
    rows: InstructionRows = field(default_factory=list)
    data: InstructionData = None
    split: Split = "dev"
    limit: Limit = None
    judge: Judge = None
    variants: Variants = True
    seed: Seed = 0
    output: Output = None
    resume: Resume = False
    dry_run: DryRun = False
    strict: InstructionStrict = False
