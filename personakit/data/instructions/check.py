"""Looks the instructions of a data folder over: what they hold, and what would spoil an experiment."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from personakit.data.instructions.leaks import Answers, question, telling_answer
from personakit.data.instructions.pools import POOL, read_pool
from personakit.data.instructions.store import instruction_files, open_instructions
from personakit.data.lamp_mini.facts import is_lamp_mini
from personakit.data.near_duplicates import NearDuplicates
from personakit.records import Instruction, Pool


@dataclass(frozen=True, slots=True)
class InstructionCheck:
    """What one split of instructions holds, or the pool (split "pool").

    `answer_words` is the median answer's length. `kept_out` counts (query, prompt) pairs in which the
    prompt of the folder's own pool would give the query's answer away: they are never shown.
    """

    split: str
    instructions: int
    with_input: int
    kinds: int
    answer_words: float
    kept_out: int


def check_instructions(folder: Path) -> tuple[list[InstructionCheck], list[str]]:
    """Read every split and the pool, and return what they hold, and warnings, each one sentence."""
    files = instruction_files(folder)
    checks: list[InstructionCheck] = []
    warnings: list[str] = []
    where = folder / "instructions" / f"{POOL}.jsonl"
    pool = Pool.of(()) if not where.is_file() else read_pool(where, lamp_mini=is_lamp_mini(folder)).pool
    answers = Answers(pool)
    if pool.prompts:
        checks.append(_check(POOL, pool.prompts, 0))
    earlier: dict[str, tuple[NearDuplicates, NearDuplicates]] = {}
    for split in files:
        rows = open_instructions(folder, split).rows
        checks.append(_check(split, rows, sum(len(answers.of(row)) for row in rows)))
        for other, (questions, golds) in earlier.items():
            shared = sum(
                bool(questions.of(question(row)) or (telling_answer(row) and golds.of(row.output)))
                for row in rows
            )
            if shared:
                warnings.append(f"instructions: {shared} of {split} are near duplicates of some in {other}")
        earlier[split] = (
            NearDuplicates([question(row) for row in rows]),
            NearDuplicates([row.output for row in rows if telling_answer(row)]),
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
