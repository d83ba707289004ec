"""Tells the preference formats apart by the columns of a row, never by a file's name."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

from personakit.data.preferences import alignx, fspo, native, synthesizeme, trl
from personakit.data.preferences.rows import PreferenceRow, Skips
from personakit.data.tables import Row
from personakit.errors import UserError


@dataclass(frozen=True, slots=True)
class PreferenceFormat:
    """One format: how it is told, how a row of it is read.

    `divided` says that a row itself tells signals from what is held out.
    """

    name: str
    matches: Callable[[Set[str]], bool]
    read: Callable[[Row, Skips, str | None], PreferenceRow | None]
    divided: bool


PREFERENCE_FORMATS = {
    each.NAME: PreferenceFormat(each.NAME, each.matches, each.read, each.DIVIDED)
    for each in (native, alignx, fspo, synthesizeme, trl)
}


def detect(columns: Set[str], place: str) -> str | None:
    """Return the format of a row with these columns, None where it is no preference.

    Raises `UserError` where it could be read in two ways.
    """
    found = [name for name, each in PREFERENCE_FORMATS.items() if each.matches(columns)]
    if len(found) > 1:
        raise UserError(
            f"{place} has the columns of {len(found)} preference formats ({', '.join(found)}), expected one",
            hint=f"say which is meant, as --format {found[0]}, or remove the other's columns",
        )
    return found[0] if found else None


class OneFormat:
    """Refuses a file whose rows are not all in the format of its first row."""

    def __init__(self, name: str) -> None:
        self.format = PREFERENCE_FORMATS[name]
        self._known: set[frozenset[str]] = set()

    def check(self, row: Row) -> None:
        """Raise `UserError` where the row's columns are not those of the format."""
        columns = frozenset(row.values)
        if columns in self._known:
            return
        if not self.format.matches(columns):
            others = [name for name, each in PREFERENCE_FORMATS.items() if each.matches(columns)]
            is_in = f"in the format {others[0]}" if others else "in no preference format"
            raise UserError(
                f"{row.place} ({', '.join(row.values)}) is {is_in}, expected {self.format.name} as before it",
                hint="a file is in one format: put the others' rows into files of their own",
            )
        self._known.add(columns)
