"""Two choices that `auto` leaves to the data: what a draft is, and what writes the trajectories."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

from personakit.config import TrainRPO
from personakit.data.folders import data_folder
from personakit.data.lamp_mini.facts import is_lamp_mini
from personakit.errors import UserError
from personakit.tasks import Task, get_task

#: What writes the trajectories of real text. On real e-mails and reviews with SmolLM2 no trace gains over the
#: response alone, which takes the fewest tokens (benchmarks/results/traces.md).
REAL_TEXT_WRITER: Literal["none"] = "none"


def uses_given_text(draft: str, task: Task) -> bool:
    """Return whether a task's drafts are the given texts under the setting `draft`."""
    return task.gives_text and (draft == "input" or (draft == "auto" and task.rewrites_input))


def check_drafts(draft: str, tasks: Iterable[str]) -> None:
    """Raise `UserError` for `draft=input` and a task that gives no text to rewrite."""
    for name in tasks:
        if draft == "input" and not get_task(name).gives_text:
            raise UserError(
                f"draft is input, but {name} gives no text to rewrite, expected draft=base or auto",
                hint="with auto, the drafts of rewriting tasks are the given texts and those of others are "
                "the base model's",
            )


def needs_base(config: TrainRPO) -> bool:
    """Return whether the configured tasks have drafts of the base model. Reads no data: all tasks have."""
    return not config.data.tasks or not all(
        uses_given_text(config.draft, get_task(task)) for task in config.data.tasks
    )


def with_writer(config: TrainRPO, recorded: str | None = None) -> TrainRPO:
    """Return the settings with `trajectories.writer` resolved: as `recorded` by the run, or by the data."""
    writer: Any = recorded or config.trajectories.writer
    if writer == "auto":
        built_in = is_lamp_mini(data_folder(config.data.path))
        writer = "template" if built_in else REAL_TEXT_WRITER
    return replace(config, trajectories=replace(config.trajectories, writer=writer))


def chosen(config: TrainRPO, tasks: Iterable[str]) -> dict[str, str]:
    """Return what `auto` comes to, for a plan: the writer (resolved), and the drafts of given texts."""
    return {"trajectories.writer": config.trajectories.writer} | {
        f"draft of {task}": "input" if uses_given_text(config.draft, get_task(task)) else "base"
        for task in tasks
        if get_task(task).rewrites_input
    }


def has_trace(config: TrainRPO) -> bool:
    """Return whether the rewriter writes a trace before its response (resolved settings)."""
    return config.trajectories.writer != "none"
