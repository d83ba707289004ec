"""`personakit train`: one command for each method, all with the same options."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from personakit.cli.command import command, group
from personakit.cli.errors import resumable
from personakit.cli.options import Overrides
from personakit.cli.output import Result, escaped, note, table
from personakit.config.training import DEFAULT_MODEL
from personakit.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.methods.training import Training


def register(root: typer.Typer) -> None:
    """Add the group to `root`, with a command for each method."""
    from personakit.methods.table import METHODS

    app = group("train", "Train a method.")
    for name in METHODS:
        _add(app, name)
    root.add_typer(app)


Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="NAME|FILE",
        help=f"A shipped config or a file; by default {DEFAULT_MODEL}. nano trains a tiny model in minutes.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="DIR", help="The run's folder; by default a new one in runs/."),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue the stopped run in --output, by default the newest one."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check the settings and print the plan without training.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """The options of one call."""

    overrides: Overrides = None
    config: Config = None
    output: Output = None
    resume: Resume = False
    dry_run: DryRun = False
    quiet: Quiet = False


def _add(app: typer.Typer, name: str) -> None:
    from personakit.methods.table import METHODS

    def train(options: TrainOptions) -> Result:
        return _train(name, options)

    try:
        train.__doc__ = METHODS[name].help
    except UserError as error:  # in an installed package; the other commands still work
        train.__doc__ = f"Not available: {error.message}."
    command(app, name, TrainOptions)(train)


def _train(method: str, options: TrainOptions) -> Result:
    from personakit.methods.training import Training

    training = Training.prepare(
        method,
        config=options.config,
        overrides=options.overrides or (),
        output=options.output,
        resume=options.resume,
    )
    for text in training.notes:
        note(text)
    if options.dry_run:
        return _dry_run(training)
    from personakit.training.processes import is_main_process
    from personakit.training.progress import choose_progress

    run = training.open_run()
    with resumable(f"personakit train {method} --output {run.folder} --resume"):
        training.train(run, choose_progress(quiet=options.quiet or not is_main_process()))
    if training.already_finished:
        note(f"{run.folder} is finished: there is nothing to resume")
    note(f"next: personakit eval {training.method.suites(training.settings)[0]} --run {run.folder}")
    document = {"run": str(run.folder), **run.facts}
    return Result(document, lambda out: out.print(escaped(str(run.folder))))


def _dry_run(training: Training) -> Result:
    """Print the settings, the tables of the method's plan, and the memory of each stage."""
    from personakit.config import to_yaml
    from personakit.evaluation.sections import print_sections
    from personakit.models.available_memory import format_gb
    from personakit.suites.run import request_section

    plan, settings = training.plan(), training.settings
    document = {
        "config": asdict(settings),
        **({} if training.fitted is None else {"fitted_settings": training.fitted.facts}),
        **{each.key: dict(each.values) for each in plan.counts},
        **({} if plan.requests is None else {"requests": [asdict(each) for each in plan.requests]}),
        "memory": [asdict(each) | {"bytes": each.estimate.total} for each in plan.memory],
        "output": None if training.output is None else str(training.output),
    }

    def show(out: Console) -> None:
        out.print(to_yaml(settings), end="")
        for each in plan.counts:
            if each.values:
                table(out, each.columns, each.values.items())
        if plan.requests is not None:
            print_sections([request_section(plan.requests)], out)
        if plan.memory:
            columns = ("stage", "model", "device", "memory, estimated")
            rows = [
                (each.stage, each.model, each.device, format_gb(each.estimate.total)) for each in plan.memory
            ]
            table(out, columns, rows)
            out.print("memory per device, for the maximum lengths in the settings; not calibrated on GPUs")

    note("dry run: nothing was trained or written")
    return Result(document, show)
