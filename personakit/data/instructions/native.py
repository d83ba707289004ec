"""personakit's own instruction files (also those of lamp-mini): one instruction per line.

    {"id": "00001", "instruction": "...", "input": "...", "output": "...", "kind": "..."}

`kind` is optional. A data folder holds them as `instructions/{lora,train,dev,test}.jsonl`, and the prompt
pool as `instructions/pool.jsonl`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from personakit.data.instructions.formats import ALPACA
from personakit.data.skips import SkipCounts
from personakit.data.tables import TableRow, read_rows
from personakit.errors import UserError
from personakit.files import atomic_file
from personakit.records import Instruction

FOLDER = "instructions"


def record(instruction: Instruction) -> dict[str, Any]:
    """Return an instruction as the JSON object of one line."""
    fields = asdict(instruction)
    return fields if instruction.kind is not None else {k: v for k, v in fields.items() if k != "kind"}


def write_instructions(path: Path, instructions: Iterable[Instruction]) -> None:
    """Write one instruction per line, atomically."""
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        for instruction in instructions:
            file.write(orjson.dumps(record(instruction), option=orjson.OPT_APPEND_NEWLINE))


def read_instructions(path: Path) -> list[Instruction]:
    """Read a whole file. Raises `UserError` for the first invalid line or repeated id."""
    read: list[Instruction] = []
    places: dict[str, str] = {}
    for row in read_rows(path):
        made = read_line(row)
        first = places.setdefault(made.id, row.place)
        if first is not row.place:
            raise UserError(
                f'{row.place}: id "{made.id}" is already used at {first}, expected unique ids',
                hint="give every instruction its own id, or import the file again",
            )
        read.append(made)
    if not read:
        raise UserError(f"{path} has no instructions, expected one per line", hint="import it again")
    return read


def read_line(row: TableRow) -> Instruction:
    """Return the instruction of one line."""
    if not ALPACA.matches(row.values.keys()):
        raise UserError(
            f'{row.place} has {", ".join(row.values) or "nothing"}, expected "instruction" and "output"',
            hint="convert Alpaca, Dolly and self-instruct files with `personakit data import`",
        )
    skips = SkipCounts()
    found = ALPACA.read(row, skips, row.text("id") if "id" in row.values else row.place.rpartition(" ")[2])
    if not found:
        name = "output" if row.text("instruction").strip() else "instruction"
        raise UserError(
            f'{row.place}: "{name}" is empty, expected a text', hint="fill it in, or remove the line"
        )
    return found[0]


def fingerprint(instructions: Iterable[Instruction]) -> str:
    """Return a hash of the instructions' content, in order."""
    digest = hashlib.sha256()
    for instruction in instructions:
        digest.update(orjson.dumps((instruction.instruction, instruction.input, instruction.output)))
    return digest.hexdigest()[:32]
