"""`personakit train`: one command a method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from personakit.cli.command import command, group
from personakit.cli.errors import resumable
from personakit.cli.options import Overrides
from personakit.cli.output import Result, harmless, note, table
from personakit.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.config import TrainRPO
    from personakit.rpo.memory import StageMemory

app = group("train", "Train a method.")

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


@command(app, "rpo")
def rpo(
    overrides: Overrides = None,
    config: Config = None,
    output: Output = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> Result:
    """Train RPO: a rewriter of generic answers.

    Asks the base model for its generic answers (each is kept, none is asked for twice), writes
    trajectories from them to the users' own answers, fine-tunes the rewriter on these, goes on with
    reinforcement learning (not with stages=sft), and trains context injection on the same data as a
    control.
    """
    from personakit.training.processes import from_first, is_first

    if resume and output is None:
        output = from_first(lambda: _newest_stopped("rpo"))
    settings = _settings(config, overrides or [], output if resume else None)
    if dry_run:
        return _plan(settings, output)

    from personakit.rpo.train import train_rpo
    from personakit.training.progress import choose_progress
    from personakit.training.run import Run

    run = Run.create(output, "rpo", asdict(settings), settings.seed, resume=resume)
    with resumable(f"personakit train rpo --output {run.folder} --resume"), run:
        train_rpo(settings, run, choose_progress(quiet=quiet or not is_first()))
    note(f"next: personakit eval lamp --run {run.folder}")
    document = {"run": str(run.folder), **run.facts}
    return Result(document, lambda out: out.print(harmless(str(run.folder))))


def _settings(config: str | None, overrides: list[str], resumed: Path | None) -> TrainRPO:
    """The named config, or, for a run that goes on and is told nothing else, the run's own."""
    from personakit.config import TrainRPO, find_config, load

    if resumed is not None and config is None and (resumed / "config.yaml").is_file():
        return load(TrainRPO, resumed / "config.yaml", overrides)
    return load(TrainRPO, find_config(config or "lamp-mini", "rpo"), overrides)


def _newest_stopped(method: str) -> Path:
    from personakit.training.run import newest_run

    folder = newest_run(method=method, finished=False)
    if folder is None:
        raise UserError(
            "--resume: no stopped run under runs/", hint="name the run's folder with --output, or start anew"
        )
    return folder


def _plan(settings: TrainRPO, output: Path | None) -> Result:
    """Check data, retriever and model names; say what training would read, and what it would pay for."""
    from personakit.cli.estimate import in_json, show_estimates
    from personakit.config import to_yaml
    from personakit.models.open import check_model, resolve_model
    from personakit.retrieval import open_retriever
    from personakit.rpo.estimate import estimate_requests
    from personakit.rpo.teacher import teacher_name
    from personakit.rpo.train import check_plan, training_stores

    check_plan(settings)
    check_model(resolve_model(settings.model))
    check_model(settings.base)
    if settings.trajectories.writer == "teacher":
        check_model(teacher_name(settings))
    if not settings.retrieval.name.startswith("dense"):  # opening that one would load its encoder
        open_retriever(settings.retrieval.name, settings.retrieval.k)
    queries = {store.task: len(store) for store in training_stores(settings)}
    estimates = estimate_requests(settings)
    memory = _memory(settings)
    document = {
        "config": asdict(settings),
        "queries": queries,
        "requests": in_json(estimates),
        "memory": [asdict(each) | {"bytes": each.estimate.total} for each in memory],
        "output": None if output is None else str(output),
    }

    def show(out: Console) -> None:
        out.print(to_yaml(settings), end="")
        table(out, ("task", "training queries"), queries.items())
        show_estimates(out, estimates)
        _show_memory(out, memory)

    note("dry run: nothing was trained or written")
    return Result(document, show)


def _memory(settings: TrainRPO) -> list[StageMemory]:
    """What each stage takes on this machine, and, where that has no GPU, on one that has."""
    from personakit.rpo.memory import estimate_stages
    from personakit.training.precision import decide_precision

    here = decide_precision()
    found = estimate_stages(settings, here.device, here.dtype)
    return found if here.device == "cuda" else found + estimate_stages(settings, "cuda", "bfloat16")


def _show_memory(out: Console, memory: Sequence[StageMemory]) -> None:
    """Print the table of memory, and what its figures are worth."""
    from personakit.training.memory import in_gb

    columns = ("stage", "model", "device", "memory, estimated")
    rows = [(each.stage, each.model, each.device, in_gb(each.estimate.total)) for each in memory]
    table(out, columns, rows)
    out.print("memory of one device, with the longest rows that the settings allow; not calibrated on GPUs")
