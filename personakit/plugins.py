"""Tasks, methods and baselines of installed packages, found through entry points.

    [project.entry-points."personakit.tasks"]
    haiku = "my_package:HAIKU"            # a tasks.TaskPlugin: file format, prompts and scoring

    [project.entry-points."personakit.methods"]
    my-method = "my_package:METHOD"       # a method.Method: settings, train, open

    [project.entry-points."personakit.baselines"]
    my-baseline = "my_package:open_mine"  # takes methods.BaselineInputs, returns a Personalizer

A package is imported only when its name is looked up.
"""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from personakit.errors import UserError

TASKS, METHODS, BASELINES = "personakit.tasks", "personakit.methods", "personakit.baselines"


@functools.cache
def plugin_names(group: str) -> tuple[str, ...]:
    """Return the names of a group's entry points in all installed packages."""
    return tuple(sorted(_entry_points(group)))


@functools.cache
def load_plugin(group: str, name: str) -> Any:
    """Return the object that an entry point names, or None if no package has one of this name.

    Raises `UserError` if it cannot be imported.
    """
    point = _entry_points(group).get(name)
    if point is None:
        return None
    try:
        return point.load()
    except Exception as error:
        package = point.dist.name if point.dist is not None else "an installed package"
        raise UserError(
            f'{group} "{name}" of {package} cannot be loaded from {point.value}: '
            f"{type(error).__name__}: {error}",
            hint="fix or uninstall that package",
        ) from error


@functools.cache
def _entry_points(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def clear_plugin_cache() -> None:
    """Clear the cache, so that newly installed packages are found."""
    for cached in (plugin_names, load_plugin, _entry_points):
        cached.cache_clear()
