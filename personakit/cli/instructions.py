"""Instructions and the pool of prompts for `personakit data import` and `personakit data show`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.cli.output import Result, harmless, note, shortened, table

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.data.instructions import InstructionReport
    from personakit.records import Instruction

TASKS = ("instructions", "instruction")
_SHOWN = 10
_WIDTH = 160


def show_import(out: Console, report: InstructionReport, output: Path) -> None:
    """Print what an import kept and left out."""
    table(out, (report.format, "instructions"), report.splits.items())
    for reason, skip in report.skipped.items():
        out.print(harmless(f"skipped {skip.count} {reason} (first: {skip.first})"))
    if report.near_duplicates:
        out.print(f"{report.near_duplicates} near duplicates stand in the split of what they repeat")
    out.print(f"kept {report.kept} of {report.read} instructions")
    out.print(harmless(str(output)))


def wants_instructions(path: str, task: str | None) -> bool:
    """Tell whether instructions are asked for: by name, or because the folder holds nothing else."""
    from personakit.data.folders import data_folder, holds_questions
    from personakit.data.instructions import instruction_files

    if task is not None:
        return task.casefold() in TASKS
    folder = data_folder(path)
    return bool(instruction_files(folder)) and not holds_questions(folder)


def show_instructions(path: str, split: str, *, limit: int | None) -> Result:
    """Return at most `limit` instructions of a split (by default ten), or of the pool (`--split pool`)."""
    from personakit.data.instructions import open_instructions, open_pool

    if split == "pool":
        opened = open_pool("pool", path)
        rows, of = opened.pool.prompts, opened.name
    else:
        store = open_instructions(path, split)
        rows, of = store.rows, store.name
    shown = rows[: limit or _SHOWN]
    note(f"{of}: {len(shown)} of {len(rows)}")
    document: dict[str, Any] = {"name": of, "instructions": [asdict(one) for one in shown]}
    return Result(document, lambda out: _show(out, shown))


def _show(out: Console, rows: tuple[Instruction, ...]) -> None:
    for one in rows:
        kind = f" ({one.kind})" if one.kind else ""
        out.print(harmless(f"{one.id}{kind}"))
        for name, text in (("instruction", one.instruction), ("input", one.input), ("output", one.output)):
            if text:
                out.print(f"  {name:<12}{harmless(shortened(text, _WIDTH))}")
