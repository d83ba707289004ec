"""The formats instructions come in, each turned into `Instruction`s row by row.

- Alpaca: `instruction, input, output` (https://github.com/tatsu-lab/stanford_alpaca); `input` may be missing.
  With an `id` and a `kind` it is personakit's own (`native.py`).
- Dolly: `instruction, context, response, category`
  (https://huggingface.co/datasets/databricks/databricks-dolly-15k).
- self-instruct: `instruction, instances: [{input, output}]` (https://github.com/yizhongw/self-instruct), of
  which each instance is an instruction by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

from personakit.data.preferences.rows import Skips, several, text
from personakit.data.tables import Row
from personakit.records import Instruction

EMPTY = "rows without an instruction or without an answer"
NO_INSTANCE = "rows without an instance"


@dataclass(frozen=True, slots=True)
class InstructionFormat:
    """One format: how it is told by its columns, and how a row of it is read.

    `read` gives every instruction of a row, under the number of the row; what it leaves out it counts.
    """

    name: str
    matches: Callable[[Set[str]], bool]
    read: Callable[[Row, Skips, str], list[Instruction]]


def _alpaca(row: Row, skips: Skips, number: str) -> list[Instruction]:
    given = text(row, "input") if "input" in row.values else ""
    return _sound(
        row, skips, number, text(row, "instruction"), given, text(row, "output"), _kind(row, "kind")
    )


def _dolly(row: Row, skips: Skips, number: str) -> list[Instruction]:
    given = text(row, "context") if "context" in row.values else ""
    kind = _kind(row, "category")
    return _sound(row, skips, number, text(row, "instruction"), given, text(row, "response"), kind)


def _self_instruct(row: Row, skips: Skips, number: str) -> list[Instruction]:
    instances = several(row, "instances")
    if not instances:
        skips.add(NO_INSTANCE, row.place)
    asked = text(row, "instruction")
    return [
        made
        for place, each in enumerate(instances, start=1)
        for made in _sound(
            each, skips, f"{number}.{place}", asked, text(each, "input"), text(each, "output"), None
        )
    ]


def _sound(
    row: Row, skips: Skips, number: str, asked: str, given: str, answer: str, kind: str | None
) -> list[Instruction]:
    if not (asked.strip() and answer.strip()):
        skips.add(EMPTY, row.place)
        return []
    return [Instruction(number, asked.strip(), given.strip(), answer.strip(), kind)]


def _kind(row: Row, column: str) -> str | None:
    return (text(row, column).strip() or None) if column in row.values else None


ALPACA = InstructionFormat("alpaca", lambda columns: {"instruction", "output"} <= columns, _alpaca)
DOLLY = InstructionFormat("dolly", lambda columns: {"instruction", "response"} <= columns, _dolly)
SELF_INSTRUCT = InstructionFormat(
    "self-instruct", lambda columns: {"instruction", "instances"} <= columns, _self_instruct
)
