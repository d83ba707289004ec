"""Finds the prompt of a row that has no `prompt` column: a column with another known name, or a conversation.

`prompt` is TRL's name, `instruction` with `input` LLaMA-Factory's and Alpaca's, `question` that of Orca,
`conversations` ShareGPT's. A `system` column and LLaMA-Factory's `history` (pairs of earlier requests and
answers) come before the prompt. Any other column has to be named by the caller.
"""

from __future__ import annotations

from collections.abc import Set

from personakit.data.json_rows import CONVERSATIONS
from personakit.data.missing import is_missing
from personakit.data.preferences.conversations import ASSISTANT, USER, Turn, column_turns
from personakit.data.preferences.rows import text
from personakit.data.tables import TableRow
from personakit.errors import UserError

PROMPTS = ("instruction", "question", "query", "x")
_HISTORY_FORM = 'expected earlier requests and answers, [["...", "..."]]'


def prompt_column(columns: Set[str], place: str) -> str | None:
    """Return the column with the prompt, or None.

    Raises `UserError` if several could be it.
    """
    if "prompt" in columns:
        return "prompt"
    found = [name for name in PROMPTS if name in columns] or [n for n in CONVERSATIONS if n in columns]
    if len(found) > 1:
        raise UserError(
            f"{place} has the columns {' and '.join(found)}, each of which may be the prompt, expected one",
            hint=f"name it, for example --column prompt={found[0]}",
        )
    return found[0] if found else None


def prompt_turns(row: TableRow) -> list[Turn] | None:
    """Return the prompt as a conversation, with what comes before it, or None if no column has it."""
    column = prompt_column(row.values.keys(), row.place)
    if column is None:
        return None
    turns = column_turns(row, column, USER)
    if column in PROMPTS and "input" in row.values and not is_missing(row.values["input"]):
        role, request = turns[-1]
        turns[-1] = role, f"{request}\n{text(row, 'input')}"
    return before(row) + turns


def before(row: TableRow) -> list[Turn]:
    """Return what comes before the prompt in columns of its own: the system message and earlier turns."""
    turns: list[Turn] = []
    if not is_missing(row.values.get("system")):
        turns.append(("system", text(row, "system")))
    history = row.values.get("history")
    for number, pair in enumerate([] if is_missing(history) else _history(row), start=1):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(each, str) for each in pair)):
            raise UserError(
                f'{row.place}, "history" {number} is {pair!r:.60}, {_HISTORY_FORM}',
                hint="correct or remove it",
            )
        turns += [(USER, pair[0]), (ASSISTANT, pair[1])]
    return turns


def _history(row: TableRow) -> list[object]:
    history = row.values["history"]
    if not isinstance(history, list):
        raise UserError(
            f'{row.place}: "history" is {history!r:.60}, {_HISTORY_FORM}', hint="correct or remove it"
        )
    return history
