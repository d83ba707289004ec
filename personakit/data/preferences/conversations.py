"""Converts conversations, lists of messages, to text.

Messages are `{"role", "content"}` or ShareGPT's `{"from", "value"}`; a content may be a list of text parts. A
single message becomes its content. Longer conversations are written one turn per line after the role, because
a `PreferencePair` holds text.
"""

from __future__ import annotations

from typing import Any

from personakit.data.preferences.rows import text
from personakit.data.tables import TableRow, object_row
from personakit.errors import UserError

Turn = tuple[str, str]  # role, content
USER, ASSISTANT = "user", "assistant"
_ROLES = {"human": USER, "gpt": ASSISTANT, "model": ASSISTANT, "bot": ASSISTANT, "chatgpt": ASSISTANT}


def prompt_text(row: TableRow, column: str) -> str:
    """Return a prompt column (a text or a conversation) as text."""
    return joined(column_turns(row, column, USER))


def answer_text(row: TableRow, column: str) -> str:
    """Return an answer column (a text, a message or a list of one message) as text."""
    messages = column_turns(row, column, ASSISTANT)
    if len(messages) != 1:
        raise UserError(
            f'{row.place}: "{column}" holds {len(messages)} messages, expected one answer',
            hint="move the messages that both answers share to the prompt",
        )
    return messages[0][1]


def column_turns(row: TableRow, column: str, role: str) -> list[Turn]:
    """Return the turns of a column: of a conversation, of one message, or a text as one turn of `role`."""
    value = row.values.get(column)
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list):
        return turns(value, f'{row.place}, "{column}"')
    return [(role, text(row, column))]


def turns(value: list[Any], place: str) -> list[Turn]:
    """Return the (role, content) turns of a conversation."""
    return [_turn(object_row(each, f"{place}, message {number}")) for number, each in enumerate(value, 1)]


def joined(messages: list[Turn]) -> str:
    """Return a conversation as text: a single message without its role, several with their roles."""
    if len(messages) == 1:
        return messages[0][1]
    return "\n".join(f"{role}: {content}" for role, content in messages)


def _turn(message: TableRow) -> Turn:
    is_sharegpt = "role" not in message.values and {"from", "value"} <= message.values.keys()
    role = message.text("from" if is_sharegpt else "role")
    return _ROLES.get(role, role), _content(message, "value" if is_sharegpt else "content")


def _content(message: TableRow, column: str) -> str:
    parts = message.values.get(column)
    if not isinstance(parts, list):
        return text(message, column)
    rows = [object_row(part, f'{message.place}, "{column}" {number}') for number, part in enumerate(parts, 1)]
    for row in rows:
        if not isinstance(row.values.get("text"), str):
            raise UserError(
                f"{row.place} is of the type {row.values.get('type')!r}, expected a text",
                hint="remove images and other parts that are not text",
            )
    return "".join(row.text("text") for row in rows)
