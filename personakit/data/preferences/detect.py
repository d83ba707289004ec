"""Detects the preference format of a row by its columns, never by the file name."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

from personakit.data.preferences import alignx, fspo, native, synthesizeme, trl
from personakit.data.preferences.rows import PreferenceRow, SkipCounts
from personakit.data.tables import TableRow
from personakit.errors import UserError


@dataclass(frozen=True, slots=True)
class PreferenceFormat:
    """One format: how to recognise it by its columns, and how to read a row.

    `divided` says whether rows separate signals from held-out pairs.
    """

    name: str
    matches: Callable[[Set[str]], bool]
    read: Callable[[TableRow, SkipCounts, str | None], PreferenceRow | None]
    has_signals: bool


PREFERENCE_FORMATS = {
    each.NAME: PreferenceFormat(each.NAME, each.matches, each.read, each.HAS_SIGNALS)
    for each in (native, alignx, fspo, synthesizeme, trl)
}


def detect(columns: Set[str], place: str) -> str | None:
    """Return the format of a row with these columns, or None if it is not a preference.

    Raises `UserError` if several formats match.
    """
    found = [name for name, each in PREFERENCE_FORMATS.items() if each.matches(columns)]
    if len(found) > 1:
        raise UserError(
            f"{place} has the columns of {len(found)} preference formats ({', '.join(found)}), expected one",
            hint=f"give the format, as --format {found[0]}, or remove the columns of the other",
        )
    return found[0] if found else None


class FormatChecker:
    """Checks that all rows of a file have the format of its first row."""

    def __init__(self, name: str) -> None:
        self.format = PREFERENCE_FORMATS[name]
        self._known: set[frozenset[str]] = set()

    def check(self, row: TableRow) -> None:
        """Raise `UserError` if the row's columns do not match the format."""
        columns = frozenset(row.values)
        if columns in self._known:
            return
        if not self.format.matches(columns):
            others = [name for name, each in PREFERENCE_FORMATS.items() if each.matches(columns)]
            is_in = f"in the format {others[0]}" if others else "in no preference format"
            raise UserError(
                f"{row.place} ({', '.join(row.values)}) is {is_in}, expected {self.format.name} as before",
                hint="a file has one format: move rows of other formats to separate files",
            )
        self._known.add(columns)
