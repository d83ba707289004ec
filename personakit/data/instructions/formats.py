"""The supported instruction formats, each converted to `Instruction`s row by row.

- Alpaca: `instruction, input, output` (https://github.com/tatsu-lab/stanford_alpaca); `input` is optional.
  With `id` and `kind` it is personakit's own format (`native.py`).
- Dolly: `instruction, context, response, category`
  (https://huggingface.co/datasets/databricks/databricks-dolly-15k).
- self-instruct: `instruction, instances: [{input, output}]` (https://github.com/yizhongw/self-instruct).
  Each instance becomes one instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

from personakit.data.preferences.rows import object_list, text
from personakit.data.skips import SkipCounts
from personakit.data.tables import TableRow
from personakit.records import Instruction

EMPTY = "rows without an instruction or without an answer"
NO_INSTANCE = "rows without an instance"


@dataclass(frozen=True, slots=True)
class InstructionFormat:
    """One format: how to recognise it by its columns, and how to read a row.

    `read` returns the instructions of a row, with ids derived from the row number, and counts skipped ones.
    """

    name: str
    matches: Callable[[Set[str]], bool]
    read: Callable[[TableRow, SkipCounts, str], list[Instruction]]


def _alpaca(row: TableRow, skips: SkipCounts, number: str) -> list[Instruction]:
    input_text = text(row, "input") if "input" in row.values else ""
    return _instructions(
        row, skips, number, text(row, "instruction"), input_text, text(row, "output"), _kind(row, "kind")
    )


def _dolly(row: TableRow, skips: SkipCounts, number: str) -> list[Instruction]:
    input_text = text(row, "context") if "context" in row.values else ""
    kind = _kind(row, "category")
    return _instructions(
        row, skips, number, text(row, "instruction"), input_text, text(row, "response"), kind
    )


def _self_instruct(row: TableRow, skips: SkipCounts, number: str) -> list[Instruction]:
    instances = object_list(row, "instances")
    if not instances:
        skips.add(NO_INSTANCE, row.place)
    instruction = text(row, "instruction")
    return [
        instruction_
        for number_in_row, instance in enumerate(instances, start=1)
        for instruction_ in _instructions(
            instance,
            skips,
            f"{number}.{number_in_row}",
            instruction,
            text(instance, "input"),
            text(instance, "output"),
            None,
        )
    ]


def _instructions(
    row: TableRow,
    skips: SkipCounts,
    number: str,
    instruction: str,
    input_text: str,
    answer: str,
    kind: str | None,
) -> list[Instruction]:
    if not (instruction.strip() and answer.strip()):
        skips.add(EMPTY, row.place)
        return []
    return [Instruction(number, instruction.strip(), input_text.strip(), answer.strip(), kind)]


def _kind(row: TableRow, column: str) -> str | None:
    return (text(row, column).strip() or None) if column in row.values else None


ALPACA = InstructionFormat("alpaca", lambda columns: {"instruction", "output"} <= columns, _alpaca)
DOLLY = InstructionFormat("dolly", lambda columns: {"instruction", "response"} <= columns, _dolly)
SELF_INSTRUCT = InstructionFormat(
    "self-instruct", lambda columns: {"instruction", "instances"} <= columns, _self_instruct
)
