"""Tells the instruction formats apart by the columns of a row, never by a file's name."""

from __future__ import annotations

from collections.abc import Set

from personakit.data.instructions.formats import ALPACA, DOLLY, SELF_INSTRUCT, InstructionFormat
from personakit.data.tables import Row
from personakit.errors import UserError

INSTRUCTION_FORMATS: dict[str, InstructionFormat] = {
    each.name: each for each in (ALPACA, DOLLY, SELF_INSTRUCT)
}


def detect(columns: Set[str], place: str) -> str | None:
    """Return the format of a row with these columns, None where it is no instruction.

    Raises `UserError` where it could be read in two ways.
    """
    found = [name for name, each in INSTRUCTION_FORMATS.items() if each.matches(columns)]
    if len(found) > 1:
        raise UserError(
            f"{place} has the columns of {len(found)} instruction formats ({', '.join(found)}), expected one",
            hint=f"say which is meant, as --format {found[0]}, or remove the other's columns",
        )
    return found[0] if found else None


def check_format(row: Row, wanted: InstructionFormat) -> None:
    """Raise `UserError` where the row's columns are not those of the format of the rows before it."""
    if not wanted.matches(row.values.keys()):
        others = [each.name for each in INSTRUCTION_FORMATS.values() if each.matches(row.values.keys())]
        is_in = f"in the format {others[0]}" if others else "in no instruction format"
        raise UserError(
            f"{row.place} ({', '.join(row.values)}) is {is_in}, expected {wanted.name}",
            hint="a file is in one format: put the others' rows into files of their own",
        )
