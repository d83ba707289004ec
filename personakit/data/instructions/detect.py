"""Detects the instruction format of a row by its columns, never by the file name."""

from __future__ import annotations

from collections.abc import Set

from personakit.data.instructions.formats import ALPACA, DOLLY, SELF_INSTRUCT, InstructionFormat
from personakit.data.tables import TableRow
from personakit.errors import UserError

INSTRUCTION_FORMATS: dict[str, InstructionFormat] = {
    each.name: each for each in (ALPACA, DOLLY, SELF_INSTRUCT)
}


def detect(columns: Set[str], place: str) -> str | None:
    """Return the format of a row with these columns, or None if it is not an instruction.

    Raises `UserError` if several formats match.
    """
    found = [name for name, each in INSTRUCTION_FORMATS.items() if each.matches(columns)]
    if len(found) > 1:
        raise UserError(
            f"{place} has the columns of {len(found)} instruction formats ({', '.join(found)}), expected one",
            hint=f"give the format, as --format {found[0]}, or remove the columns of the other",
        )
    return found[0] if found else None


def check_format(row: TableRow, wanted: InstructionFormat) -> None:
    """Raise `UserError` if the row's columns do not match the file's format."""
    if not wanted.matches(row.values.keys()):
        others = [each.name for each in INSTRUCTION_FORMATS.values() if each.matches(row.values.keys())]
        is_in = f"in the format {others[0]}" if others else "in no instruction format"
        raise UserError(
            f"{row.place} ({', '.join(row.values)}) is {is_in}, expected {wanted.name}",
            hint="a file has one format: move rows of other formats to separate files",
        )
