"""Detects the preference format of a row by its columns."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

from personakit.data.preferences import alignx, fspo, native, synthesizeme, trl
from personakit.data.preferences.rows import PreferenceRow
from personakit.data.row_formats import match_format
from personakit.data.skips import SkipCounts
from personakit.data.tables import TableRow


@dataclass(frozen=True, slots=True)
class PreferenceFormat:
    """One format: how to recognise it by its columns, and how to read a row.

    `has_signals` says whether rows separate signals from held-out pairs.
    """

    name: str
    matches: Callable[[Set[str]], bool]
    read: Callable[[TableRow, SkipCounts, str | None], PreferenceRow | None]
    has_signals: bool


PREFERENCE_FORMATS = {
    module.NAME: PreferenceFormat(module.NAME, module.matches, module.read, module.HAS_SIGNALS)
    for module in (native, alignx, fspo, synthesizeme, trl)
}


def detect(columns: Set[str], place: str) -> str | None:
    """Return the format of a row with these columns, or None if it is not a preference.

    Raises `UserError` if several formats match.
    """
    return match_format(PREFERENCE_FORMATS, columns, place, "preference")
