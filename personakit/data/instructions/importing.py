"""Imports an instruction file: `instructions/{lora,train,dev,test}.jsonl`, and what became of every row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from personakit.data.instructions import native
from personakit.data.instructions.detect import INSTRUCTION_FORMATS, check_format
from personakit.data.instructions.splitting import split_instructions
from personakit.data.near_duplicates import normalized
from personakit.data.preferences.rows import Skip, Skips, source_rows
from personakit.errors import UserError
from personakit.records import Instruction

REPEATED = "instructions given again with the same answer"


@dataclass(frozen=True, slots=True)
class InstructionReport:
    """What an import read, kept and left out.

    `read` counts instructions (an instance of self-instruct is one); each of them is kept or skipped.
    `near_duplicates` are kept, in the same split as what they repeat.
    """

    format: str
    read: int
    kept: int
    splits: Mapping[str, int]
    near_duplicates: int
    skipped: Mapping[str, Skip]


def import_instructions(
    source: Path,
    output: Path,
    *,
    format: str,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
) -> InstructionReport:
    """Write the instructions in `source` to `output/instructions/`, split from `seed`.

    `format` is one of `INSTRUCTION_FORMATS`; `columns` says which columns are called otherwise. Raises
    `UserError` for the first row that is not in the format, and where too few are left for four splits.
    """
    known = INSTRUCTION_FORMATS[format]
    skips = Skips()
    rows: list[Instruction] = []
    seen: set[tuple[str, str, str]] = set()
    for number, row in enumerate(source_rows(source, columns), start=1):
        check_format(row, known)
        for each in known.read(row, skips, f"{number:06d}"):
            key = normalized(each.instruction), normalized(each.input), normalized(each.output)
            if key in seen:
                skips.add(REPEATED, row.place)
                continue
            seen.add(key)
            rows.append(each)
    splits, joined = split_instructions(rows, seed)
    short = [split for split, some in splits.items() if not some]
    if short:
        why = "; ".join(f"{skip.count} {reason} ({skip.first})" for reason, skip in skips.report.items())
        raise UserError(
            f"{source}: {len(rows)} instructions leave none for {', '.join(short)}"
            + (f"; left out: {why}" if why else ""),
            hint="give at least one instruction for each of lora, train, dev and test",
        )
    for split, some in splits.items():
        native.write_instructions(output / native.FOLDER / f"{split}.jsonl", some)
    counts = {split: len(some) for split, some in splits.items()}
    return InstructionReport(format, len(rows) + skips.total(), len(rows), counts, joined, skips.report)
