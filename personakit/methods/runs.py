"""Reads finished runs and opens them as Personalizers, whatever their method."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from personakit.config import load_saved
from personakit.contracts import Personalizer
from personakit.errors import UserError
from personakit.method import FinishedRun, OpenOptions
from personakit.methods.table import METHODS
from personakit.popi.method import load_popi
from personakit.training import run as runs

if TYPE_CHECKING:
    from personakit.contracts import ContextProvider
    from personakit.popi.opening import LoadedPOPI


def newest_run(method: str | None = None) -> Path:
    """Return the newest finished run under `runs/`; raises `UserError` where there is none."""
    folder = runs.newest_run(method=method)
    if folder is None:
        raise UserError(
            "there is no finished run in runs/",
            hint=f"personakit train {method or next(iter(METHODS))} makes one",
        )
    return folder


def read_run(folder: Path, method: str | None = None) -> FinishedRun:
    """Read a finished run's run.json and config.yaml.

    Raises `UserError` where it is no run, has no model yet, or is of another method than `method`.
    """
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
        raise UserError(f"{document}: not the record of a run ({error})", hint="train it again") from error
    if name not in METHODS:
        raise UserError(f'{document}: "method" is "{name}"', hint=f"this version knows {', '.join(METHODS)}")
    found = METHODS[name]
    if not (folder / found.result).is_dir():
        raise UserError(
            f'{folder}: the run is "{facts.get("status")}" and has no model yet',
            hint=f"personakit train {name} --output {folder} --resume continues it",
        )
    run = FinishedRun(folder, name, seed, load_saved(found.settings, folder / "config.yaml"))
    if method is not None:
        METHODS[method].refuse(run)
    return run


def open_run(
    run: str | Path | FinishedRun,
    *,
    base: str | None = None,
    rewrite_without_history: bool = False,
    rewriter: str | None = None,
) -> Personalizer:
    """Open a finished run as the Personalizer it trained; the options are those of `OpenOptions`.

    Raises `UserError` where the folder is no finished run, or a part that an option needs was not trained.
    """
    run = run if isinstance(run, FinishedRun) else read_run(Path(run))
    offer_runs()
    return METHODS[run.method].open(run, OpenOptions(base, rewrite_without_history, rewriter))


def open_popi(run: str | Path | FinishedRun) -> LoadedPOPI:
    """Load a run of POPI, its base model and its adapters; the last one loaded is kept for the next call."""
    return load_popi(run if isinstance(run, FinishedRun) else read_run(Path(run)))


def offer_runs() -> None:
    """Let a run stand wherever a retriever is named, as METHOD:RUN: what it trained chooses the context."""
    from personakit.retrieval.open import register_provider

    for name in METHODS:
        register_provider(name, partial(_open_provider, name))


def _open_provider(name: str, folder: str, k: int) -> ContextProvider:
    open_ = METHODS[name].context_provider
    if open_ is None:
        able = [f"{other}:RUN" for other in METHODS if METHODS[other].context_provider is not None]
        raise UserError(
            f"retriever {name}:{folder}: a run of {name} does not choose context",
            hint=f"there is {', '.join(able)}",
        )
    return open_(read_run(Path(folder), name), k)
