"""What a run's folder says of itself, whatever its method."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personakit.config import SCHEMAS, load_saved
from personakit.errors import UserError
from personakit.training import run as runs

#: Where a run keeps the control that was trained beside its method.
TUNED_CONTEXT = Path("controls") / "context_injection"
#: Rewriters that a run keeps beside its model, by name: the one that RL began with, and the controls of RL.
REWRITERS = {
    "sft": Path("sft"),
    "sft-continued": Path("controls") / "sft_continued",
    "no-curriculum": Path("controls") / "without_curriculum",
}
#: The folder that a method's training leaves last, where that is not its model.
_LAST_MADE = {"pillow": "matcher"}


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that can answer: its folder, method and seed, and the settings it was trained with."""

    folder: Path
    method: str
    seed: int
    settings: Any
    """The method's own: `config.SCHEMAS`."""

    @property
    def tuned_context(self) -> Path | None:
        """The fine-tuned context injection model's folder, None where none was trained."""
        place = self.folder / TUNED_CONTEXT
        return place if place.is_dir() else None

    @property
    def models(self) -> list[Path]:
        """The folders of the models that the run made: POPI's two; none where PILLOW left its as it was."""
        made = self.folder / "model"
        if self.method == "popi":
            return [made / "inference", made / "generator"]
        return [made] if made.is_dir() else []

    @property
    def rewriters(self) -> dict[str, Path]:
        """The rewriters beside the run's model by name (`REWRITERS`): those that were trained."""
        places = {name: self.folder / place for name, place in REWRITERS.items()}
        return {name: place for name, place in places.items() if place.is_dir()}


def newest_run(method: str | None = None) -> Path:
    """Return the newest finished run under `runs/`; raises `UserError` where there is none."""
    folder = runs.newest_run(method=method)
    if folder is None:
        raise UserError("there is no finished run in runs/", hint="personakit train rpo makes one")
    return folder


def read_run(folder: Path) -> FinishedRun:
    """Read a run's own account of itself; raises `UserError` where it is no run, or has no model yet."""
    document = folder / "run.json"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run", hint="personakit runs lists those in runs/")
    if not document.is_file():
        raise UserError(
            f"{folder}: not a run (it has no run.json)", hint="personakit runs lists those in runs/"
        )
    try:
        facts = json.loads(document.read_text(encoding="utf-8"))
        method, seed = facts["method"], facts["seed"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{document}: not a run's account of itself ({error})", hint="train it again"
        ) from error
    if method not in SCHEMAS:
        raise UserError(
            f'{document}: "method" is "{method}"', hint=f"this version knows {', '.join(SCHEMAS)}"
        )
    if not (folder / _LAST_MADE.get(method, "model")).is_dir():
        raise UserError(
            f'{folder}: the run is "{facts.get("status")}" and has no model yet',
            hint=f"personakit train {method} --output {folder} --resume goes on with it",
        )
    return FinishedRun(folder, method, seed, load_saved(SCHEMAS[method], folder / "config.yaml"))
