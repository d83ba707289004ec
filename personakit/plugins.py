"""What installed packages add: tasks, methods and baselines, found by their entry points.

    [project.entry-points."personakit.tasks"]
    haiku = "my_package:HAIKU"            # a tasks.TaskPlugin: the format of its files, and its metrics

    [project.entry-points."personakit.methods"]
    my-method = "my_package:METHOD"       # a method.Method: settings, train, open

    [project.entry-points."personakit.baselines"]
    my-baseline = "my_package:open_mine"  # takes methods.Surroundings, returns a Personalizer

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
    """Return the names that installed packages give in a group."""
    return tuple(sorted(_found(group)))


@functools.cache
def load_plugin(group: str, name: str) -> Any:
    """Return what an entry point names, None where no package has one of this name.

    Raises `UserError` where it cannot be imported.
    """
    point = _found(group).get(name)
    if point is None:
        return None
    try:
        return point.load()
    except Exception as error:
        package = point.dist.name if point.dist is not None else "an installed package"
        raise UserError(
            f'{group} "{name}" of {package} cannot be loaded from {point.value}: '
            f"{type(error).__name__}: {error}",
            hint="mend or remove that package",
        ) from error


@functools.cache
def _found(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def forget_plugins() -> None:
    """Look again: what is installed has changed."""
    for cached in (plugin_names, load_plugin, _found):
        cached.cache_clear()
