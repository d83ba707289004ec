"""`personakit train ... --dry-run`: what a training would read, need and pay for, with everything checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.cli.output import Result, table

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.config import TrainPILLOW, TrainPOPI, TrainRPO
    from personakit.training.stage_memory import StageMemory


def plan_rpo(settings: TrainRPO, output: Path | None) -> Result:
    """Check data, retriever and model names; count queries, and requests to endpoints."""
    from personakit.cli.estimate import in_json, show_estimates
    from personakit.models.open import check_model, resolve_model
    from personakit.retrieval import open_retriever
    from personakit.rpo.estimate import estimate_requests
    from personakit.rpo.memory import estimate_stages
    from personakit.rpo.teacher import teacher_name
    from personakit.rpo.train import check_plan, training_stores
    from personakit.training.stage_memory import here_and_on_a_gpu

    check_plan(settings)
    check_model(resolve_model(settings.model))
    check_model(settings.base)
    if settings.trajectories.writer == "teacher":
        check_model(teacher_name(settings))
    if not settings.retrieval.name.startswith("dense"):  # opening that one would load its encoder
        open_retriever(settings.retrieval.name, settings.retrieval.k)
    queries = {store.task: len(store) for store in training_stores(settings)}
    estimates = estimate_requests(settings)

    def show(out: Console) -> None:
        table(out, ("task", "training queries"), queries.items())
        show_estimates(out, estimates)

    return _plan(
        settings,
        {"queries": queries, "requests": in_json(estimates)},
        show,
        here_and_on_a_gpu(partial(estimate_stages, settings)),
        output,
    )


def plan_popi(settings: TrainPOPI, output: Path | None) -> Result:
    """Check data and model name; count users, pairs and what is left out."""
    from personakit.models.open import check_model, resolve_model
    from personakit.popi.memory import estimate_stages
    from personakit.popi.train import check_plan, count_users
    from personakit.training.stage_memory import here_and_on_a_gpu

    check_plan(settings)
    check_model(resolve_model(settings.model))
    users, skipped = count_users(settings)

    def show(out: Console) -> None:
        table(out, ("users and pairs to train on", ""), users.items())
        if skipped:
            table(out, ("left out of the data", ""), skipped.items())

    return _plan(
        settings,
        {"users": users, "skipped": skipped},
        show,
        here_and_on_a_gpu(partial(estimate_stages, settings)),
        output,
    )


def plan_pillow(settings: TrainPILLOW, output: Path | None) -> Result:
    """Check data, pool and model name; count instructions and prompts."""
    from personakit.models.open import check_model, resolve_model
    from personakit.pillow.data import open_data
    from personakit.pillow.memory import estimate_stages
    from personakit.pillow.train import check_plan
    from personakit.training.stage_memory import here_and_on_a_gpu

    check_plan(settings)
    check_model(resolve_model(settings.model))
    counts = open_data(settings).counts()
    return _plan(
        settings,
        {"instructions": counts},
        lambda out: table(out, ("instructions and prompts", ""), counts.items()),
        here_and_on_a_gpu(partial(estimate_stages, settings)),
        output,
    )


def _plan(
    settings: Any,
    counted: dict[str, Any],
    show_counted: Callable[[Console], None],
    memory: Sequence[StageMemory],
    output: Path | None,
) -> Result:
    """The settings, what was counted, and what each stage takes."""
    from personakit.config import to_yaml

    document = {
        "config": asdict(settings),
        **counted,
        "memory": [asdict(each) | {"bytes": each.estimate.total} for each in memory],
        "output": None if output is None else str(output),
    }

    def show(out: Console) -> None:
        out.print(to_yaml(settings), end="")
        show_counted(out)
        _show_memory(out, memory)

    return Result(document, show)


def _show_memory(out: Console, memory: Sequence[StageMemory]) -> None:
    """Print the table of memory, and what its figures are worth."""
    from personakit.training.memory import in_gb

    columns = ("stage", "model", "device", "memory, estimated")
    rows = [(each.stage, each.model, each.device, in_gb(each.estimate.total)) for each in memory]
    table(out, columns, rows)
    out.print("memory of one device, with the longest rows that the settings allow; not calibrated on GPUs")


PLANS: dict[str, Callable[[Any, Path | None], Result]] = {
    "rpo": plan_rpo,
    "popi": plan_popi,
    "pillow": plan_pillow,
}
