"""personakit's own instruction files, as lamp-mini writes them: an instruction a line.

    {"id": "00001", "instruction": "...", "input": "...", "output": "...", "kind": "..."}

`kind` may be missing. They lie in a data folder under `instructions/{lora,train,dev,test}.jsonl`; prompts
to pick from under `instructions/pool.jsonl`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from personakit.data.instructions.formats import ALPACA
from personakit.data.preferences.rows import Skips
from personakit.data.tables import Row, read_rows
from personakit.errors import UserError
from personakit.files import atomic_file
from personakit.records import Instruction

FOLDER = "instructions"


def record(instruction: Instruction) -> dict[str, Any]:
    """Return an instruction as one line of a file holds it."""
    fields = asdict(instruction)
    return fields if instruction.kind is not None else {k: v for k, v in fields.items() if k != "kind"}


def write_instructions(path: Path, instructions: Iterable[Instruction]) -> None:
    """Write instructions a line each, whole or not at all."""
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        for each in instructions:
            file.write(orjson.dumps(record(each), option=orjson.OPT_APPEND_NEWLINE))


def read_instructions(path: Path) -> list[Instruction]:
    """Read a file whole. Raises `UserError` for the first line of the wrong shape and an id given again."""
    read: list[Instruction] = []
    places: dict[str, str] = {}
    for row in read_rows(path):
        made = read_line(row)
        first = places.setdefault(made.id, row.place)
        if first is not row.place:
            raise UserError(
                f'{row.place}: id "{made.id}" is also that of {first}, expected it once',
                hint="give every instruction an id of its own, or import the file anew",
            )
        read.append(made)
    if not read:
        raise UserError(f"{path} has no instructions, expected one a line", hint="import it again")
    return read


def read_line(row: Row) -> Instruction:
    """Return the instruction a line holds."""
    if not ALPACA.matches(row.values.keys()):
        raise UserError(
            f'{row.place} has {", ".join(row.values) or "nothing"}, expected "instruction" and "output"',
            hint="`personakit data import` makes such files of Alpaca's, Dolly's and self-instruct's",
        )
    skips = Skips()
    found = ALPACA.read(row, skips, row.text("id") if "id" in row.values else row.place.rpartition(" ")[2])
    if not found:
        name = "output" if row.text("instruction").strip() else "instruction"
        raise UserError(
            f'{row.place}: "{name}" is empty, expected a text', hint="fill it in, or remove the line"
        )
    return found[0]


def fingerprint(instructions: Iterable[Instruction]) -> str:
    """Return a digest of what the instructions say, in their order."""
    digest = hashlib.sha256()
    for each in instructions:
        digest.update(orjson.dumps((each.instruction, each.input, each.output)))
    return digest.hexdigest()[:32]
