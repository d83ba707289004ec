"""Trains a method by its name: for `personakit train` and for `personakit.train`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.config import config_files, find_config, load, load_saved
from personakit.errors import UserError
from personakit.method import Method, Plan
from personakit.methods.runs import offer_runs
from personakit.methods.table import find_method
from personakit.training.processes import from_first
from personakit.training.run import Run, newest_run

if TYPE_CHECKING:
    from personakit.training.progress import Progress

DEFAULT_CONFIG = "lamp-mini"


@dataclass(frozen=True, slots=True)
class Training:
    """A training that has its settings and has not begun; `prepare` makes one."""

    method: Method
    settings: Any
    output: Path | None
    resume: bool

    @classmethod
    def prepare(
        cls,
        method: str,
        *,
        config: str | Path | None = None,
        overrides: Sequence[str] = (),
        output: Path | None = None,
        resume: bool = False,
    ) -> Training:
        """Read the settings: `config`, or where a run is resumed without one, that run's own.

        Raises `UserError` for an unknown method, config or setting, and where there is no run to resume.
        """
        found = find_method(method)
        if resume and output is None:
            output = from_first(lambda: _newest_stopped(method))
        offer_runs()  # a run may stand where the settings name a retriever
        if resume and config is None and output is not None and (output / "config.yaml").is_file():
            settings = load_saved(found.settings, output / "config.yaml", overrides)
        else:
            settings = load(found.settings, config_of(method, config), overrides)
        return cls(found, settings, output, resume)

    def plan(self) -> Plan:
        """Check everything and estimate costs; nothing is trained or written."""
        return self.method.plan(self.settings)

    def open_run(self) -> Run:
        """Make the run's folder, or take up the one to resume."""
        settings = self.settings
        return Run.create(self.output, self.method.name, settings, settings.seed, resume=self.resume)

    def train(self, run: Run, progress: Progress) -> None:
        """Train into the run that `open_run` returned, and record in it how that ended."""
        with run:
            self.method.train(self.settings, run, progress)


def train(
    method: str,
    *,
    config: str | Path | None = None,
    overrides: Sequence[str] = (),
    output: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> Path:
    """Train a method and return the run's folder.

    Args:
        method: A name in `personakit.methods.METHODS`, such as "rpo".
        config: A shipped config's name or a file; by default "lamp-mini", or the resumed run's own.
        overrides: Settings that replace the config's, such as "sft.max_steps=100".
        output: The run's folder; by default a new one in `runs/`.
        resume: Continue the stopped run in `output`, by default the newest one.
        quiet: Show no progress.

    Raises:
        UserError: for bad settings or data; the message names the value, its place and what was expected.
        RunError: where training itself failed.
    """
    from personakit.training.progress import choose_progress

    folder = None if output is None else Path(output)
    training = Training.prepare(method, config=config, overrides=overrides, output=folder, resume=resume)
    run = training.open_run()
    training.train(run, choose_progress(quiet=quiet))
    return run.folder


def config_of(method: str, config: str | Path | None) -> Path | None:
    """Return the file of a config; None where none is named and none is shipped: the settings' defaults."""
    if config is None and f"{method}/{DEFAULT_CONFIG}" not in config_files():
        return None
    return find_config(str(config or DEFAULT_CONFIG), method)


def _newest_stopped(method: str) -> Path:
    folder = newest_run(method=method, finished=False)
    if folder is None:
        raise UserError(
            "--resume: no stopped run under runs/", hint="name the run's folder with --output, or start anew"
        )
    return folder
