"""Validates the instructions of a data folder: contents and problems that would distort an experiment."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from personakit.data.instructions.leaks import LeakDetector, has_comparable_answer, question
from personakit.data.instructions.pools import POOL, read_pool
from personakit.data.instructions.store import instruction_files, open_instructions
from personakit.data.lamp_mini.facts import is_lamp_mini
from personakit.data.near_duplicates import NearDuplicates
from personakit.records import Instruction, Pool


@dataclass(frozen=True, slots=True)
class InstructionCheck:
    """The contents of one split of instructions, or of the pool (split "pool").

    `answer_words` is the median answer length. `kept_out` counts (query, prompt) pairs in which a prompt of
    the folder's own pool reveals the query's answer; such prompts are never shown.
    """

    split: str
    instructions: int
    with_input: int
    kinds: int
    answer_words: float
    kept_out: int


def check_instructions(folder: Path) -> tuple[list[InstructionCheck], list[str]]:
    """Read every split and the pool. Return their contents, and warnings of one sentence each."""
    files = instruction_files(folder)
    checks: list[InstructionCheck] = []
    warnings: list[str] = []
    pool_path = folder / "instructions" / f"{POOL}.jsonl"
    pool = (
        Pool.of(()) if not pool_path.is_file() else read_pool(pool_path, lamp_mini=is_lamp_mini(folder)).pool
    )
    leak_detector = LeakDetector(pool)
    if pool.prompts:
        checks.append(_check(POOL, pool.prompts, 0))
    indexes_by_split: dict[str, tuple[NearDuplicates, NearDuplicates]] = {}
    for split in files:
        rows = open_instructions(folder, split).rows
        checks.append(_check(split, rows, sum(len(leak_detector.of(row)) for row in rows)))
        for other_split, (questions, golds) in indexes_by_split.items():
            shared = sum(
                bool(questions.of(question(row)) or (has_comparable_answer(row) and golds.of(row.output)))
                for row in rows
            )
            if shared:
                warnings.append(
                    f"instructions: {shared} of {split} are near duplicates of some in {other_split}"
                )
        indexes_by_split[split] = (
            NearDuplicates([question(row) for row in rows]),
            NearDuplicates([row.output for row in rows if has_comparable_answer(row)]),
        )
    return checks, warnings


def _check(split: str, rows: Sequence[Instruction], kept_out: int) -> InstructionCheck:
    return InstructionCheck(
        split,
        len(rows),
        sum(bool(row.input.strip()) for row in rows),
        len({row.kind for row in rows}),
        statistics.median(len(row.output.split()) for row in rows),
        kept_out,
    )
