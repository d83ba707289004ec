"""Trains a method by name, for `personakit train` and `personakit.train`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.config import config_files, find_config, load, load_saved
from personakit.config.conditions import missing_condition
from personakit.config.loading import given_keys
from personakit.data.folders import LAMP_MINI
from personakit.errors import UserError
from personakit.method import Method, Plan
from personakit.methods.model_size import FittedSettings, load_fitted
from personakit.methods.runs import register_run_providers
from personakit.methods.table import find_method
from personakit.methods.working_folder import with_run_paths
from personakit.training.processes import from_main_process
from personakit.training.run import Run, check_output, newest_run, status_of

if TYPE_CHECKING:
    from personakit.training.progress import Progress


@dataclass(frozen=True, slots=True)
class Training:
    """A training that is configured but not started; made by `prepare`."""

    method: Method
    settings: Any
    output: Path | None
    resume: bool
    already_finished: bool = False
    """True if the run to resume is finished: `train` then does nothing."""
    fitted: FittedSettings | None = None
    """The settings that were chosen for the size of the model; None for a small one and in a resumed run."""
    overrides: Sequence[str] = ()

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
        """Read the settings from `config`, or from the run to resume.

        Settings that neither the config nor `overrides` set are fitted to the size of the model. Raises
        `UserError` for an unknown method, config or setting, for learning rates that are known to destroy a
        model of this size, or if there is no run to resume.
        """
        found = find_method(method)
        if resume and output is None:
            output = from_main_process(lambda: _newest_stopped(method))
        register_run_providers()  # the settings may name a run as retriever
        if resume and config is None and output is not None and (output / "config.yaml").is_file():
            settings = load_saved(found.settings, output / "config.yaml", overrides)
            return cls(found, settings, output, resume, _is_finished(output), overrides=overrides)
        path = default_config(found, overrides) if config is None else find_config(str(config), method)
        settings, fitted = load_fitted(found.settings, path, overrides)
        finished = resume and output is not None and _is_finished(output)
        return cls(found, settings, output, resume, finished, fitted, overrides)

    @property
    def notes(self) -> list[str]:
        """What to tell before training: the settings that were chosen, and overrides without effect."""
        needed = {
            key: missing_condition(self.settings, key) for key in sorted(given_keys(None, self.overrides)[1])
        }
        return [
            *(() if self.fitted is None else (str(self.fitted),)),
            *(f"{key} has no effect without {other}" for key, other in needed.items() if other is not None),
        ]

    def plan(self) -> Plan:
        """Check everything and estimate costs; nothing is trained or written."""
        if self.output is not None:
            check_output(self.output, resume=self.resume)
        return self.method.plan(self.settings)

    def open_run(self) -> Run:
        """Create the run's folder, or open the run to resume."""
        settings = self.settings
        run = Run.create(self.output, self.method.name, settings, settings.seed, resume=self.resume)
        if self.fitted is not None:
            run.record(fitted_settings=self.fitted.facts)
        return run

    def train(self, run: Run, progress: Progress) -> None:
        """Train into the run that `open_run` returned, and record how the training ended."""
        with run:
            if self.already_finished:
                return
            self.method.train(with_run_paths(self.settings, run.facts), run, progress)


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
        config: A shipped config's name or a file; by default the one named like the model (`default_config`),
            or the resumed run's own.
        overrides: Settings that replace the config's, such as "sft.max_steps=100".
        output: The run's folder; by default a new one in `runs/`.
        resume: Continue the stopped run in `output`, by default the newest one.
        quiet: Show no progress.

    Raises:
        UserError: for bad settings or data; the message names the value, its place and what was expected.
        RunError: if training fails.
    """
    from personakit.training.progress import choose_progress

    folder = None if output is None else Path(output)
    training = Training.prepare(method, config=config, overrides=overrides, output=folder, resume=resume)
    run = training.open_run()
    for text in training.notes if run.writes and not quiet else ():
        print(text, file=sys.stderr)
    training.train(run, choose_progress(quiet=quiet))
    return run.folder


def default_config(method: Method, overrides: Sequence[str] = ()) -> Path | None:
    """Return the config that is used where none is named: the shipped one with the name of the model.

    So `train rpo` uses smollm2.yaml, and `train rpo model=nano` nano.yaml. They are for the built-in data.
    None, for other models and other data: the defaults, fitted to the size of the model.
    """
    settings = load(method.settings, None, overrides)
    if getattr(getattr(settings, "data", None), "path", LAMP_MINI) != LAMP_MINI:
        return None
    return config_files().get(f"{method.name}/{getattr(settings, 'model', '')}")


def _is_finished(folder: Path) -> bool:
    return (folder / "run.json").is_file() and status_of(folder) == "finished"


def _newest_stopped(method: str) -> Path:
    folder = newest_run(method=method, finished=False)
    if folder is None:
        raise UserError(
            "--resume: no stopped run under runs/",
            hint="give the run's folder with --output, or omit --resume",
        )
    return folder
