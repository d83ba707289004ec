"""What a method is for the rest of the package: `Method`, and `FinishedRun`, one that it has trained.

A method's package exports one `Method`; one line in `personakit.methods.table`, or an entry point of the
group "personakit.methods" in another distribution, adds it to every command.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.errors import UserError

if TYPE_CHECKING:
    from personakit.config import TrainRPO
    from personakit.contracts import ContextProvider, Personalizer
    from personakit.models.cost import CostEstimate
    from personakit.training.progress import Progress
    from personakit.training.run import Run
    from personakit.training.stage_memory import StageMemory


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that can answer: its folder, its method's name, its seed, and the settings of its training."""

    folder: Path
    method: str
    seed: int
    settings: Any = field(hash=False)
    """An instance of `Method.settings`."""

    @property
    def facts(self) -> dict[str, Any]:
        """What run.json says."""
        facts: dict[str, Any] = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        return facts

    def path(self, part: str | Path = "model") -> Path | None:
        """Return a folder that training left, such as "model" or "controls/..."; None where there is none."""
        path = self.folder / part
        return path if path.is_dir() else None


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """How to open a run; a method ignores what it has no use for."""

    base: str | None = None
    """Another base model than the one the run was trained with."""
    rewrite_without_history: bool = False
    """RPO: rewrite where the user's history is empty, too (a control)."""
    rewriter: str | None = None
    """RPO: another rewriter of the run than its model, by name (`personakit.methods.REWRITERS`)."""


@dataclass(frozen=True, slots=True)
class Counts:
    """A table of a plan: `key` names it in JSON, `columns` are its two headings."""

    key: str
    columns: tuple[str, str]
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a training would read, request and need, found out without loading a model (`--dry-run`)."""

    counts: Sequence[Counts] = ()
    requests: Sequence[CostEstimate] | None = None
    """None where the method sends no request to an API."""
    memory: Sequence[StageMemory] = ()


def _no_plan(settings: Any) -> Plan:
    return Plan()


def _lamp(settings: Any) -> tuple[str, ...]:
    return ("lamp",)


def _own_model(run: FinishedRun) -> list[Path]:
    model = run.path()
    return [] if model is None else [model]


def _base_alone(settings: Any) -> TrainRPO:
    from personakit.config import TrainRPO

    base = getattr(settings, "base", None) or getattr(settings, "model", None)
    return TrainRPO() if base is None else TrainRPO(base=base)


@dataclass(frozen=True, kw_only=True)
class Control:
    """What a run may have trained besides its model, to compare the method with."""

    label: str
    """Its row in `eval lamp`."""
    folder: Path
    """Where it is in the run."""
    trained_with: str
    """Which setting trains it, for a run that has none."""
    open: Callable[[FinishedRun, OpenOptions], Personalizer]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method of personalisation. The functions import what they need themselves: `--help` stays fast."""

    name: str
    """On the command line and in run.json, such as "rpo"."""
    label: str
    """In tables, such as "RPO"."""
    help: str
    """The help text of `personakit train NAME`; its first line is the summary."""
    settings: type[Any]
    """A dataclass of `personakit.config.schema.setting`s, with `seed: int` among them."""
    train: Callable[[Any, Run, Progress], object]
    """(settings, run, progress): trains into the run's folder."""
    open: Callable[[FinishedRun, OpenOptions], Personalizer]
    """Opens a finished run."""
    plan: Callable[[Any], Plan] = _no_plan
    """Checks settings, data and model names; raises `UserError` where training would fail on them."""
    suites: Callable[[Any], tuple[str, ...]] = _lamp
    """The evaluations that take runs with these settings, the most natural one first."""
    result: str = "model"
    """The folder that training writes last: a run without it is not finished."""
    models: Callable[[FinishedRun], list[Path]] = _own_model
    """The folders of the models that a run has trained and that answering needs."""
    context_provider: Callable[[FinishedRun, int], ContextProvider] | None = None
    """What `retrieval.name=NAME:RUN` opens: (run, number of items) to a `ContextProvider`."""
    controls: Mapping[str, Control] = field(default_factory=dict)
    """By the names that `eval lamp --baseline` takes."""
    baseline_settings: Callable[[Any], TrainRPO] = _base_alone
    """The settings that baselines share with a run: base model, number of items, prompt length."""

    def refuse(self, run: FinishedRun) -> None:
        """Raise `UserError` for a run of another method."""
        if run.method != self.name:
            raise UserError(
                f"{run.folder}: a run of {run.method}, expected one of {self.name}",
                hint=f"personakit train {self.name} makes one",
            )
