"""Reads finished runs of all methods and opens them as Personalizers."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.config import TrainPILLOW, load_saved
from personakit.contracts import LanguageModel, Personalizer
from personakit.errors import UserError
from personakit.method import FinishedRun, OpenOptions
from personakit.methods.table import METHODS
from personakit.methods.working_folder import with_run_paths
from personakit.models import voice
from personakit.popi.method import load_popi
from personakit.training import run as runs

if TYPE_CHECKING:
    from personakit.contracts import ContextProvider
    from personakit.popi.opening import LoadedPOPI


def with_max_new_tokens(settings: Any, max_new_tokens: int | None) -> Any:
    """Return a method's settings with this limit of answers; None keeps the present one.

    A method without such a setting keeps its settings.
    """
    if max_new_tokens is None:
        return settings
    if hasattr(settings, "decoding"):
        return replace(settings, decoding=replace(settings.decoding, max_new_tokens=max_new_tokens))
    if isinstance(settings, TrainPILLOW):
        reward = replace(settings.rl.reward, max_new_tokens=max_new_tokens)
        return replace(settings, rl=replace(settings.rl, reward=reward))
    return settings


def newest_run(method: str | None = None) -> Path:
    """Return the newest finished run in `runs/`; raises `UserError` if there is none."""
    folder = runs.newest_run(method=method)
    if folder is None:
        raise UserError(
            "there is no finished run in runs/",
            hint=f"personakit train {method or next(iter(METHODS))} makes one",
        )
    return folder


def newest_run_or_voice() -> Path:
    """Return the newest finished run in `runs/`, or the built-in rewriter's if there is none."""
    return runs.newest_run() or voice.FOLDER


def read_run(folder: Path, method: str | None = None) -> FinishedRun:
    """Read a finished run's run.json and config.yaml. `voice` is the built-in one.

    Raises `UserError` if it is not a run, is not finished, or is not of `method`.
    """
    if folder == Path(voice.NAME) and not folder.exists():
        folder = voice.FOLDER
    document = folder / "run.json"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run", hint="personakit runs lists those in runs/")
    if not document.is_file():
        raise UserError(
            f"{folder}: not a run (it has no run.json)", hint="personakit runs lists those in runs/"
        )
    try:
        facts = json.loads(document.read_text(encoding="utf-8"))
        name, seed = facts["method"], facts["seed"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{document}: not a valid run.json ({error})", hint="train it again") from error
    if name not in METHODS:
        raise UserError(f'{document}: "method" is "{name}"', hint=f"this version has {', '.join(METHODS)}")
    found = METHODS[name]
    if not (folder / found.result).is_dir():
        raise UserError(
            f'{folder}: the run is "{facts.get("status")}" and has no model yet',
            hint=f"personakit train {name} --output {folder} --resume continues it",
        )
    settings = with_run_paths(load_saved(found.settings, folder / "config.yaml"), facts)
    run = FinishedRun(folder, name, seed, settings)
    if method is not None:
        METHODS[method].require(run)
    return run


def open_run(
    run: str | Path | FinishedRun,
    *,
    base: str | None = None,
    model: LanguageModel | None = None,
    rewrite_without_history: bool = False,
    rewriter: str | None = None,
    max_edit: float | None = None,
    check_content: bool | None = False,
    given_drafts: bool = False,
) -> Personalizer:
    """Open a finished run as a Personalizer; the options are those of `OpenOptions`.

    Raises `UserError` if the folder is not a finished run, lacks a part that an option needs, or if its
    answers are no rewrites and `max_edit` or `check_content` is given.
    """
    run = run if isinstance(run, FinishedRun) else read_run(Path(run))
    options = OpenOptions(
        base, model, rewrite_without_history, rewriter, max_edit, check_content, given_drafts
    )
    check_light(run, max_edit, check_content)
    register_run_providers()
    return METHODS[run.method].open(run, options)


def check_light(run: FinishedRun, max_edit: float | None, check_content: bool | None) -> None:
    """Raise `UserError` where light edits or a content check are asked for and there is nothing to limit."""
    if max_edit is not None and not 0 <= max_edit <= 1:
        raise UserError(f"max_edit {max_edit:g}: expected a share from 0 to 1", hint="for example 0.2")
    if (max_edit is not None or check_content) and not METHODS[run.method].rewrites:
        option = "check_content" if max_edit is None else f"max_edit {max_edit:g}"
        raise UserError(
            f"{option}: {run.folder} is a run of {run.method}, whose answers are no rewrites of a draft",
            hint="leave it out, or name a run of rpo, or voice",
        )


def open_popi(run: str | Path | FinishedRun) -> LoadedPOPI:
    """Load a POPI run with its base model and adapters; the last loaded run is cached."""
    return load_popi(run if isinstance(run, FinishedRun) else read_run(Path(run)))


def register_run_providers() -> None:
    """Make METHOD:RUN a valid retriever name: the run then selects the context."""
    from personakit.retrieval.open import register_provider

    for name in METHODS:
        register_provider(name, partial(_open_provider, name))


def _open_provider(name: str, folder: str, k: int) -> ContextProvider:
    open_ = METHODS[name].context_provider
    if open_ is None:
        able = [f"{other}:RUN" for other in METHODS if METHODS[other].context_provider is not None]
        raise UserError(
            f"retriever {name}:{folder}: a run of {name} does not select context",
            hint=f"there is {', '.join(able)}",
        )
    return open_(read_run(Path(folder), name), k)
