"""A setting is a dataclass field with a help text, a provenance and bounds.

Every default states its provenance, because none of the three papers released its hyperparameters.
"""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, cast

from personakit.errors import UserError

STATED = "stated by the paper"
SUMMARISED = "borrowed from a third party's summary of the paper"
OURS = "our choice"
LAMP = "borrowed from LaMP (arXiv 2304.11406)"
PRLM = "borrowed from PrLM (ke-01/PrLM)"
TRL = "borrowed from TRL (its default)"


def setting(
    default: Any,
    help: str,
    *,
    provenance: str = OURS,
    minimum: float | None = None,
    maximum: float | None = None,
    pattern: str | None = None,
) -> Any:
    """Return a dataclass field; bounds are inclusive, `pattern` is a regex for the whole value."""
    metadata = {
        "help": help,
        "provenance": provenance,
        "minimum": minimum,
        "maximum": maximum,
        "pattern": pattern,
    }
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Setting:
    """One key of a schema: its dotted name, its type as text, and the arguments of `setting`."""

    key: str
    type: str
    default: Any
    help: str
    provenance: str
    minimum: float | None
    maximum: float | None
    pattern: str | None
    choices: tuple[Any, ...] = ()
    """The allowed values; empty: any value of the type."""


def walk(schema: type[Any], prefix: str = "") -> Iterator[Setting]:
    """Yield the leaves of a schema in the order of declaration."""
    types = typing.get_type_hints(schema)
    defaults = schema()
    for entry in fields(schema):
        key = f"{prefix}{entry.name}"
        kind = types[entry.name]
        if is_dataclass(kind):
            yield from walk(cast(type[Any], kind), f"{key}.")
        else:
            choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
            default = getattr(defaults, entry.name)
            yield Setting(key, _in_words(kind), default, **entry.metadata, choices=choices)


def check_bounds(config: Any, *, place: str) -> None:
    """Raise `UserError` for the first value outside its declared bounds or choices."""
    for known in walk(type(config)):
        value = config
        for name in known.key.split("."):
            value = getattr(value, name)
        expected = _expected(known, value)
        if expected is not None:
            raise UserError(f"{place}: {known.key} is {value!r}, expected {expected}", hint=known.help)


def _expected(known: Setting, value: Any) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    if known.minimum is not None and value is not None and value < known.minimum:
        return f"at least {known.minimum:g}"
    if known.maximum is not None and value is not None and value > known.maximum:
        return f"at most {known.maximum:g}"
    if known.choices and value not in known.choices:
        return f"one of {', '.join(known.choices)}"
    if known.pattern is not None and value is not None and not re.fullmatch(known.pattern, value):
        return f"a text of the form {known.pattern}"
    return None


def _in_words(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return " | ".join(typing.get_args(kind))
    if isinstance(kind, type) and typing.get_origin(kind) is None:
        return kind.__name__
    return str(kind).replace("None", "null")
