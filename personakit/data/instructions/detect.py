"""Detects the instruction format of a row by its columns."""

from __future__ import annotations

from collections.abc import Set

from personakit.data.instructions.formats import (
    ALPACA,
    CONVERSATION,
    DOLLY,
    PROMPT_COMPLETION,
    SELF_INSTRUCT,
    InstructionFormat,
)
from personakit.data.row_formats import match_format

INSTRUCTION_FORMATS: dict[str, InstructionFormat] = {
    format.name: format for format in (ALPACA, DOLLY, SELF_INSTRUCT, CONVERSATION, PROMPT_COMPLETION)
}


def detect(columns: Set[str], place: str) -> str | None:
    """Return the format of a row with these columns, or None if it is not an instruction.

    Raises `UserError` if several formats match.
    """
    return match_format(INSTRUCTION_FORMATS, columns, place, "instruction")
