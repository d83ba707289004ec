"""TRL's preference format with an additional user column, and its relatives.

`prompt, chosen, rejected` as text or conversations (https://huggingface.co/docs/trl/dataset_formats#preference).
The prompt may have another known name, such as LLaMA-Factory's `instruction` or ShareGPT's `conversations`
(`prompts.py`). It may also be implicit: `chosen` and `rejected` are whole conversations that share all turns
but the last, as lists of messages or as text with Anthropic's `Human:` and `Assistant:`. Words with which two
answers begin are never taken as a prompt. Rows without a user are refused.
"""

from __future__ import annotations

import re
from collections.abc import Set

from personakit.data.preferences import alignx
from personakit.data.preferences.conversations import ASSISTANT, USER, Turn, answer_text, column_turns, joined
from personakit.data.preferences.prompts import prompt_turns
from personakit.data.preferences.rows import PairTexts, PreferenceRow, required_user_id
from personakit.data.skips import SkipCounts
from personakit.data.tables import TableRow
from personakit.errors import UserError

NAME = "trl"
HAS_SIGNALS = False
_ANTHROPIC = re.compile(r"(?:^|\n\n)(Human|Assistant):")


def matches(columns: Set[str]) -> bool:
    """Return whether a row with these columns is in TRL's format and in no other."""
    return {"chosen", "rejected"} <= columns and "context" not in columns and not alignx.matches(columns)


def read(row: TableRow, skips: SkipCounts, user_column: str | None) -> PreferenceRow | None:
    """Return the row's comparison."""
    return PreferenceRow(row.place, required_user_id(row, user_column), [pair(row)])


def pair(row: TableRow) -> PairTexts:
    """Return the comparison of a row with `chosen` and `rejected`, and the prompt in any of the known forms.

    Raises `UserError` if no column has the prompt and the answers are no conversations.
    """
    prompt = prompt_turns(row)
    chosen, rejected = (_turns(row, column) for column in ("chosen", "rejected"))
    if prompt is not None and len(chosen) == len(rejected) == 1:
        return PairTexts(joined(prompt), chosen[0][1], rejected[0][1])
    if prompt is None and not (_is_conversation(row, "chosen") and _is_conversation(row, "rejected")):
        raise UserError(
            f"{row.place} has no known prompt column, its columns are {', '.join(row.values)}",
            hint="name the column of the prompt: --column prompt=COLUMN",
        )
    shared = _shared_turns(chosen, rejected)
    if not len(chosen) == len(rejected) == shared + 1:
        if prompt is not None:
            answer_text(row, "chosen" if len(chosen) != 1 else "rejected")  # raises
        raise UserError(
            f'{row.place}: "chosen" and "rejected" differ in more than their last message',
            hint='move the messages that they share to "prompt", and keep one answer each',
        )
    if prompt is not None and prompt[-1][1].strip() != chosen[shared - 1][1].strip():
        raise UserError(
            f'{row.place}: "chosen" and "rejected" are conversations, and their last request '
            f"{chosen[shared - 1][1]!r:.60} is not the prompt {prompt[-1][1]!r:.60}",
            hint="keep one answer in each, or remove the prompt column",
        )
    return PairTexts(joined(chosen[:shared]) if shared else "", chosen[-1][1], rejected[-1][1])


def _turns(row: TableRow, column: str) -> list[Turn]:
    turns = column_turns(row, column, ASSISTANT)
    if isinstance(row.values.get(column), str) and _is_conversation(row, column):
        _, *pieces = _ANTHROPIC.split(turns[0][1].strip())
        roles = {"Human": USER, "Assistant": ASSISTANT}
        return [
            (roles[role], content.strip()) for role, content in zip(pieces[::2], pieces[1::2], strict=True)
        ]
    return turns


def _is_conversation(row: TableRow, column: str) -> bool:
    value = row.values.get(column)
    if isinstance(value, str):
        names = _ANTHROPIC.findall(value.strip())
        return names[:1] == ["Human"] and "Assistant" in names
    return isinstance(value, list)


def _shared_turns(chosen: list[Turn], rejected: list[Turn]) -> int:
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    # Identical conversations share all but the last message, and are then skipped as equal.
    return min(shared, len(chosen) - 1, len(rejected) - 1)
