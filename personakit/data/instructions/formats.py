"""The supported instruction formats, each converted to `Instruction`s row by row.

- Alpaca: `instruction, input, output` (https://github.com/tatsu-lab/stanford_alpaca); `input` is optional.
  With `id` and `kind` it is personakit's own format (`native.py`).
- Dolly: `instruction, context, response, category`
  (https://huggingface.co/datasets/databricks/databricks-dolly-15k).
- conversations: `messages` (OpenAI, TRL) or `conversations` (ShareGPT). The last answer is the output, the
  turns before it are the instruction.
- prompt-completion: `prompt` or another known name of it (`preferences/prompts.py`), and `completion`,
  `response`, `answer` or `output`, text or messages (TRL).
- self-instruct: `instruction, instances: [{input, output}]` (https://github.com/yizhongw/self-instruct).
  Each instance becomes one instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

from personakit.data.json_rows import CONVERSATIONS
from personakit.data.missing import is_missing
from personakit.data.preferences.conversations import ASSISTANT, USER, answer_text, column_turns, joined
from personakit.data.preferences.prompts import PROMPTS, before, prompt_column, prompt_turns
from personakit.data.preferences.rows import object_list, text
from personakit.data.skips import SkipCounts
from personakit.data.tables import TableRow
from personakit.errors import UserError
from personakit.records import Instruction

_ANSWERS = ("completion", "response", "answer", "output")
EMPTY = "rows without an instruction or without an answer"
NO_ANSWER = "conversations that do not end with an answer"
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
    instruction = joined([*before(row), (USER, text(row, "instruction"))])
    return _instructions(row, skips, number, instruction, input_text, text(row, "output"), _kind(row, "kind"))


def _conversation(row: TableRow, skips: SkipCounts, number: str) -> list[Instruction]:
    column = prompt_column(row.values.keys(), row.place)
    turns = [] if column is None or is_missing(row.values[column]) else column_turns(row, column, USER)
    if not turns or turns[-1][0] != ASSISTANT:
        skips.add(NO_ANSWER, row.place)
        return []
    instruction = joined(before(row) + turns[:-1])
    return _instructions(row, skips, number, instruction, "", turns[-1][1], _kind(row, "kind"))


def _prompt_completion(row: TableRow, skips: SkipCounts, number: str) -> list[Instruction]:
    answers = [name for name in _ANSWERS if name in row.values]
    if len(answers) > 1:
        raise UserError(
            f"{row.place} has the columns {' and '.join(answers)}, each of which may be the answer, "
            "expected one",
            hint=f"name it, for example --column output={answers[0]} --column instruction=COLUMN",
        )
    instruction = joined(prompt_turns(row) or [(USER, "")])
    return _instructions(
        row, skips, number, instruction, "", answer_text(row, answers[0]), _kind(row, "kind")
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


def _is_prompt_completion(columns: Set[str]) -> bool:
    prompts = {"prompt", *PROMPTS} - {"instruction"}  # with an instruction: Alpaca or Dolly
    return (
        "instruction" not in columns
        and "chosen" not in columns
        and not columns.isdisjoint(prompts)
        and not columns.isdisjoint(_ANSWERS)
    )


def _is_conversation(columns: Set[str]) -> bool:
    is_other = not columns.isdisjoint({"chosen", "instruction"}) or _is_prompt_completion(columns)
    return not columns.isdisjoint(CONVERSATIONS) and not is_other


CONVERSATION = InstructionFormat("conversations", _is_conversation, _conversation)
PROMPT_COMPLETION = InstructionFormat("prompt-completion", _is_prompt_completion, _prompt_completion)
