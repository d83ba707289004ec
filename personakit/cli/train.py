"""`personakit train`: one command a method, one course for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from personakit.cli.command import command, group
from personakit.cli.errors import resumable
from personakit.cli.options import Overrides
from personakit.cli.output import Result, harmless, note
from personakit.errors import UserError

app = group("train", "Train a method.")


def register(root: typer.Typer) -> None:
    """Add the group to `root`."""
    root.add_typer(app)


Config = Annotated[
    str | None,
    typer.Option("--config", metavar="NAME|FILE", help="A shipped config or a file; by default lamp-mini."),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="DIR", help="The run's folder; by default a new one in runs/."),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with the stopped run in --output, by default the newest one."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check everything, say what would be done, do nothing.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """One call; see the options for what each means."""

    overrides: Overrides = None
    config: Config = None
    output: Output = None
    resume: Resume = False
    dry_run: DryRun = False
    quiet: Quiet = False


@command(app, "rpo", _Request)
def rpo(request: _Request) -> Result:
    """Train RPO: a rewriter of generic answers.

    Asks the base model for its generic answers (each is kept, none is asked for twice), writes
    trajectories from them to the users' own answers, fine-tunes the rewriter on these, goes on with
    reinforcement learning (not with stages=sft), and trains context injection on the same data as a
    control.
    """
    return _train("rpo", request)


@command(app, "popi", _Request)
def popi(request: _Request) -> Result:
    """Train POPI: a model that writes a user's summary, and one that answers from it.

    Fine-tunes both on plain summaries written by code (not with warm_start.enabled=false), trains them
    together on what users prefer, and, where asked, trains what POPI is set against on the same pairs
    (controls.population_dpo, controls.frozen_generator).
    """
    return _train("popi", request)


@command(app, "pillow", _Request)
def pillow(request: _Request) -> Result:
    """Train PILLOW: a matching network that picks prompts from a pool.

    Fine-tunes the model on instructions with LoRA (and, as a yardstick, all its weights), then trains the
    matching network by reinforcement learning on other instructions: what it picks is paid by how well the
    tuned model answers with it.
    """
    return _train("pillow", request)


def _train(method: str, request: _Request) -> Result:
    """Train one method from its options to its run's folder."""
    from personakit.methods import offer_runs
    from personakit.training.processes import from_first, is_first

    offer_runs()  # runs may stand where a retriever is named
    output = request.output
    if request.resume and output is None:
        output = from_first(lambda: _newest_stopped(method))
    settings = _settings(method, request, output if request.resume else None)
    if request.dry_run:
        from personakit.cli.train_plans import PLANS

        plan = PLANS[method](settings, output)
        note("dry run: nothing was trained or written")
        return plan

    train, then = _opened(method, settings)
    from personakit.training.progress import choose_progress
    from personakit.training.run import Run

    run = Run.create(output, method, settings, settings.seed, resume=request.resume)
    with resumable(f"personakit train {method} --output {run.folder} --resume"), run:
        train(settings, run, choose_progress(quiet=request.quiet or not is_first()))
    note(f"next: {then} --run {run.folder}")
    document = {"run": str(run.folder), **run.facts}
    return Result(document, lambda out: out.print(harmless(str(run.folder))))


def _opened(method: str, settings: Any) -> tuple[Callable[..., Any], str]:
    """What trains a method, and the command that one goes on with."""
    if method == "rpo":
        from personakit.rpo.train import train_rpo

        return train_rpo, "personakit eval lamp"
    if method == "popi":
        from personakit.popi.train import train_popi

        return train_popi, "personakit eval preference"
    from personakit.pillow.train import train_pillow

    # Where users' histories were picked from, LaMP's tasks are what it is for.
    return train_pillow, "personakit eval lamp" if settings.data.tasks else "personakit eval instruction"


def _settings(method: str, request: _Request, resumed: Path | None) -> Any:
    """The named config, or, for a run that goes on and is told nothing else, the run's own."""
    from personakit.config import SCHEMAS, find_config, load, load_saved

    schema, overrides = SCHEMAS[method], request.overrides or []
    if resumed is not None and request.config is None and (resumed / "config.yaml").is_file():
        return load_saved(schema, resumed / "config.yaml", overrides)
    return load(schema, find_config(request.config or "lamp-mini", method), overrides)


def _newest_stopped(method: str) -> Path:
    from personakit.training.run import newest_run

    folder = newest_run(method=method, finished=False)
    if folder is None:
        raise UserError(
            "--resume: no stopped run under runs/", hint="name the run's folder with --output, or start anew"
        )
    return folder
