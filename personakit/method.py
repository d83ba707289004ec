"""`Method`, the interface of a method to the rest of the package, and `FinishedRun`, a trained run.

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
    from personakit.contracts import ContextProvider, LanguageModel, Personalizer
    from personakit.models.cost import CostEstimate
    from personakit.training.progress import Progress
    from personakit.training.run import Run
    from personakit.training.stage_memory import StageMemory


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A finished run: its folder, its method's name, its seed, and its training settings."""

    folder: Path
    method: str
    seed: int
    settings: Any = field(hash=False)
    """An instance of `Method.settings`."""

    @property
    def facts(self) -> dict[str, Any]:
        """The contents of run.json."""
        facts: dict[str, Any] = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        return facts

    @property
    def data_path(self) -> str:
        """The training data: a folder, or lamp-mini. Raises `UserError` if there is no such folder."""
        path = str(self.settings.data.path)
        if path != "lamp-mini" and not Path(path).expanduser().exists():
            started = self.facts.get("working_folder")
            where = f" (the run was started in {started})" if started else ""
            raise UserError(
                f"{self.folder}: its data, {path}, does not exist{where}", hint="give it with --data"
            )
        return path

    def path(self, part: str | Path = "model") -> Path | None:
        """Return a folder of the run, such as "model" or "controls/...", or None if it does not exist."""
        path = self.folder / part
        return path if path.is_dir() else None


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """How to open a run; a method ignores options that do not apply to it."""

    base: str | None = None
    """Replaces the base model of the training."""
    model: LanguageModel | None = None
    """RPO: the run's rewriter, if it is open already."""
    rewrite_without_history: bool = False
    """RPO: rewrite also if the user's history is empty (a control)."""
    rewriter: str | None = None
    """RPO: name of another rewriter of the run (`personakit.methods.REWRITERS`)."""
    max_edit: float | None = None
    """RPO: the largest share of the draft's words that an answer may change; None: any."""
    check_content: bool | None = False
    """RPO: whether edits that lose or invent facts are undone; None: where the draft is the
    given text, or `max_edit` is given."""
    given_drafts: bool = False
    """RPO: whether all queries have a `Query.draft`, so that no base model is opened."""

    @property
    def light(self) -> bool:
        """Whether rewrites are limited or checked."""
        return self.max_edit is not None or self.check_content is not False


@dataclass(frozen=True, slots=True)
class PlanTable:
    """A table of a plan: `key` is its name in JSON, `columns` are its two headings."""

    key: str
    columns: tuple[str, str]
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """PlanTable, API requests and memory of a training, estimated without loading a model (`--dry-run`)."""

    counts: Sequence[PlanTable] = ()
    requests: Sequence[CostEstimate] | None = None
    """None if the method sends no requests to an API."""
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
    return TrainRPO(draft="base") if base is None else TrainRPO(base=base, draft="base")


@dataclass(frozen=True, kw_only=True)
class Control:
    """A further model that a run may have trained, as a baseline of the method."""

    label: str
    """Its label in `eval lamp`."""
    folder: Path
    """Its folder in the run."""
    setting: str
    """The setting that trains it."""
    open: Callable[[FinishedRun, OpenOptions], Personalizer]
    is_baseline: bool = False
    """Whether it is another method trained on the same data: a row before the method's own, with curves."""
    compared_with: tuple[str, ...] = ()
    """Names of other controls that it is compared with."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A personalization method. Its functions import lazily, so that `--help` is fast."""

    name: str
    """The name on the command line and in run.json, such as "rpo"."""
    label: str
    """The name in tables, such as "RPO"."""
    help: str
    """The help text of `personakit train NAME`; its first line is the summary."""
    rewrites: bool = False
    """Whether answers are rewrites of drafts, so that `OpenOptions.max_edit` and `check_content` apply."""
    settings: type[Any]
    """A dataclass of `personakit.config.schema.setting`s, with `seed: int` among them."""
    train: Callable[[Any, Run, Progress], object]
    """Trains with (settings, run, progress) into the run's folder."""
    open: Callable[[FinishedRun, OpenOptions], Personalizer]
    """Opens a finished run."""
    plan: Callable[[Any], Plan] = _no_plan
    """Checks settings, data and model names; raises `UserError` if training would fail on them."""
    suites: Callable[[Any], tuple[str, ...]] = _lamp
    """The suites that can evaluate runs with these settings, the default one first."""
    result: str = "model"
    """The folder that training writes last; a run without it is not finished."""
    models: Callable[[FinishedRun], list[Path]] = _own_model
    """Returns the folders of the trained models needed for answering."""
    context_provider: Callable[[FinishedRun, int], ContextProvider] | None = None
    """Opens `retrieval.name=NAME:RUN`: maps (run, number of items) to a `ContextProvider`."""
    controls: Mapping[str, Control] = field(default_factory=dict)
    """Controls by their names for `eval lamp --baseline`."""
    baseline_settings: Callable[[Any], TrainRPO] = _base_alone
    """Returns the settings that baselines share with a run: base model, number of items, prompt length."""

    def require(self, run: FinishedRun) -> None:
        """Raise `UserError` for a run of another method."""
        if run.method != self.name:
            raise UserError(
                f"{run.folder}: a run of {run.method}, expected one of {self.name}",
                hint=f"personakit train {self.name} makes one",
            )
