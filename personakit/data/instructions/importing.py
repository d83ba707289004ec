"""Imports an instruction file as `instructions/{lora,train,dev,test}.jsonl` and accounts for every row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from personakit.data.instructions import native
from personakit.data.instructions.detect import INSTRUCTION_FORMATS
from personakit.data.instructions.splitting import split_instructions
from personakit.data.near_duplicates import normalized
from personakit.data.preferences.rows import source_rows
from personakit.data.row_formats import FormatChecker
from personakit.data.skips import SkipCount, SkipCounts
from personakit.errors import UserError
from personakit.records import Instruction

REPEATED = "instructions given again with the same answer"


@dataclass(frozen=True, slots=True)
class InstructionReport:
    """The result of an import.

    `read` counts instructions (each self-instruct instance counts); each is either kept or skipped.
    `near_duplicates` are kept, in the same split as the instruction they repeat.
    """

    format: str
    read: int
    kept: int
    splits: Mapping[str, int]
    near_duplicates: int
    skipped: Mapping[str, SkipCount]


def import_instructions(
    source: Path,
    output: Path,
    *,
    format: str,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    missing: SkipCounts | None = None,
) -> InstructionReport:
    """Write the instructions in `source` to `output/instructions/`, split with `seed`.

    `format` is one of `INSTRUCTION_FORMATS`; `columns` maps fields to column names; `missing` counts missing
    values. Raises `UserError` for the first row of another format, and if a split would be empty.
    """
    known = INSTRUCTION_FORMATS[format]
    checker = FormatChecker(INSTRUCTION_FORMATS, format, "instruction")
    skips = SkipCounts()
    rows: list[Instruction] = []
    seen: set[tuple[str, ...]] = set()
    for number, row in enumerate(source_rows(source, columns, missing), start=1):
        checker.check(row)
        for instruction in known.read(row, skips, f"{number:06d}"):
            key = tuple(
                normalized(text) for text in (instruction.instruction, instruction.input, instruction.output)
            )
            if key in seen:
                skips.add(REPEATED, row.place)
                continue
            seen.add(key)
            rows.append(instruction)
    splits, near_duplicates = split_instructions(rows, seed)
    empty = [split for split, instructions in splits.items() if not instructions]
    if empty:
        why = "; ".join(f"{skip.count} {reason} ({skip.first})" for reason, skip in skips.report.items())
        raise UserError(
            f"{source}: {len(rows)} instructions leave none for {', '.join(empty)}"
            + (f"; left out: {why}" if why else ""),
            hint="provide at least one instruction for each of lora, train, dev and test",
        )
    for split, instructions in splits.items():
        native.write_instructions(output / native.FOLDER / f"{split}.jsonl", instructions)
    counts = {split: len(instructions) for split, instructions in splits.items()}
    return InstructionReport(
        format, len(rows) + skips.total(), len(rows), counts, near_duplicates, skips.report
    )
