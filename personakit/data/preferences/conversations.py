"""Converts conversational prompts and answers, `[{"role", "content"}]`, to text.

A single message becomes its content. Longer conversations are written one turn per line after the role,
because a `PreferencePair` holds text. PRISM's role `model` becomes `assistant`.
"""

from __future__ import annotations

from typing import Any

from personakit.data.preferences.rows import object_row, text
from personakit.data.tables import TableRow
from personakit.errors import UserError

Turn = tuple[str, str]  # role, content


def prompt_text(row: TableRow, column: str) -> str:
    """Return a prompt column (a text or a conversation) as text."""
    value = row.values.get(column)
    return joined(turns(value, f'{row.place}, "{column}"')) if isinstance(value, list) else text(row, column)


def answer_text(row: TableRow, column: str) -> str:
    """Return an answer column (a text, a message or a list of one message) as text."""
    value = row.values.get(column)
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        return text(row, column)
    messages = turns(value, f'{row.place}, "{column}"')
    if len(messages) != 1:
        raise UserError(
            f'{row.place}: "{column}" holds {len(messages)} messages, expected one answer',
            hint="move the messages that both answers share to the prompt",
        )
    return messages[0][1]


def turns(value: list[Any], place: str) -> list[Turn]:
    """Return the (role, content) turns of a conversation."""
    messages = [
        object_row(element, f"{place}, message {number}") for number, element in enumerate(value, start=1)
    ]
    return [(message.text("role"), text(message, "content")) for message in messages]


def joined(messages: list[Turn]) -> str:
    """Return a conversation as text: a single message without its role, several with their roles."""
    if len(messages) == 1:
        return messages[0][1]
    names = {"model": "assistant"}
    return "\n".join(f"{names.get(role, role)}: {content}" for role, content in messages)
