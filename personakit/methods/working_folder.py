"""Finds a run's relative paths from any working folder: they are relative to the one it was started in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from personakit.config.conditions import read_setting

#: Settings that may hold a path.
_PATHS = ("data.path", "data.pool", "model", "base", "trajectories.teacher", "matcher.encoder")
#: Settings that may hold NAME:PATH.
_PREFIXED = ("retrieval.name",)
#: Values that are never a path.
_NAMES = ("nano", "smollm2", "lamp-mini")


def with_run_paths(settings: Any, facts: Mapping[str, Any]) -> Any:
    """Return a run's settings with paths that were relative to its working folder made absolute.

    `facts` is the run's run.json. In the same working folder, and for runs of earlier versions, which have
    not recorded it, the settings stay as they are.
    """
    started = facts.get("working_folder")
    if not started or Path(started) == Path.cwd():
        return settings
    for key in (*_PATHS, *_PREFIXED):
        try:
            value = read_setting(settings, key)
        except AttributeError:  # of another method
            continue
        if not isinstance(value, str) or value in _NAMES:
            continue
        prefix, colon, path = value.partition(":") if key in _PREFIXED else ("", "", value)
        if path and not Path(path).is_absolute() and (found := Path(started) / path).exists():
            settings = _changed(settings, key.split("."), f"{prefix}{colon}{found}")
    return settings


def _changed(settings: Any, names: list[str], value: str) -> Any:
    first, *rest = names
    return replace(settings, **{first: _changed(getattr(settings, first), rest, value) if rest else value})
