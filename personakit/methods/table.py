"""The table of methods: built-in ones, and those of installed packages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from personakit.errors import UserError
from personakit.method import Method
from personakit.pillow.method import METHOD as PILLOW
from personakit.plugins import METHODS as PLUGINS
from personakit.plugins import load_plugin, plugin_names
from personakit.popi.method import METHOD as POPI
from personakit.rpo.method import METHOD as RPO


class _Methods(Mapping[str, Method]):
    """Methods by name; methods of installed packages are imported on lookup."""

    def __init__(self, *own: Method) -> None:
        self._own = {method.name: method for method in own}

    def __getitem__(self, name: str) -> Method:
        if name in self._own:
            return self._own[name]
        method = load_plugin(PLUGINS, name)
        if method is None:
            raise KeyError(name)
        if not isinstance(method, Method) or method.name != name:
            raise UserError(
                f'{PLUGINS} "{name}" is {method!r:.80}, expected a personakit.method.Method of that name',
                hint="correct or remove the package that provides it",
            )
        return method

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from (name for name in plugin_names(PLUGINS) if name not in self._own)

    def __len__(self) -> int:
        return sum(1 for _ in self)


METHODS: Mapping[str, Method] = _Methods(
    RPO,
    POPI,
    PILLOW,
)


def find_method(name: str) -> Method:
    """Return a method by name; raises `UserError` for an unknown one."""
    try:
        return METHODS[name]
    except KeyError:
        raise UserError(f'unknown method "{name}"', hint=f"there is {', '.join(METHODS)}") from None


def available_methods() -> Iterator[Method]:
    """Yield the methods that can be loaded; one of a faulty package is left out."""
    for name in METHODS:
        with contextlib.suppress(UserError):
            yield METHODS[name]
