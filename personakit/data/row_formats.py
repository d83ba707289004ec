"""Detects the format of a row by its columns, never by the file name, among several possible formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Protocol

from personakit.data.tables import TableRow
from personakit.errors import UserError


class RowFormat(Protocol):
    """A format with a condition on the columns."""

    @property
    def matches(self) -> Callable[[Set[str]], bool]:
        """Return whether a row with these columns has the format."""
        ...


def match_format(formats: Mapping[str, RowFormat], columns: Set[str], place: str, kind: str) -> str | None:
    """Return the name of the format of a row with these columns, or None.

    `kind` describes the formats in messages ("preference"). Raises `UserError` if several formats match.
    """
    found = [name for name, format in formats.items() if format.matches(columns)]
    if len(found) > 1:
        raise UserError(
            f"{place} has the columns of {len(found)} {kind} formats ({', '.join(found)}), expected one",
            hint=f"give the format, as --format {found[0]}, or remove the columns of the other",
        )
    return found[0] if found else None


class FormatChecker:
    """Checks that all rows of a file have the format `name`."""

    def __init__(self, formats: Mapping[str, RowFormat], name: str, kind: str) -> None:
        self._formats, self._name, self._kind = formats, name, kind
        self._known: set[frozenset[str]] = set()

    def check(self, row: TableRow) -> None:
        """Raise `UserError` if the row's columns do not match the format."""
        columns = frozenset(row.values)
        if columns in self._known:
            return
        if not self._formats[self._name].matches(columns):
            others = [name for name, format in self._formats.items() if format.matches(columns)]
            is_in = f"in the format {others[0]}" if others else f"in no {self._kind} format"
            raise UserError(
                f"{row.place} ({', '.join(row.values)}) is {is_in}, expected {self._name} as before",
                hint="a file has one format: move rows of other formats to separate files",
            )
        self._known.add(columns)
