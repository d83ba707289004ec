"""Conversational prompts and answers, `[{"role", "content"}]`, as text.

A prompt of one message is that message. A longer one is written turn by turn under its roles, because a
`PreferencePair` holds text; PRISM's role `model` is called `assistant`, as everywhere else.
"""

from __future__ import annotations

from typing import Any

from personakit.data.preferences.rows import nested, text
from personakit.data.tables import Row
from personakit.errors import UserError

Turn = tuple[str, str]  # role, content


def prompt_text(row: Row, column: str) -> str:
    """Return a prompt column, which holds text or a conversation, as text."""
    value = row.values.get(column)
    return joined(turns(value, f'{row.place}, "{column}"')) if isinstance(value, list) else text(row, column)


def answer_text(row: Row, column: str) -> str:
    """Return an answer column, which holds text, one message or a list of one message, as text."""
    value = row.values.get(column)
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        return text(row, column)
    said = turns(value, f'{row.place}, "{column}"')
    if len(said) != 1:
        raise UserError(
            f'{row.place}: "{column}" holds {len(said)} messages, expected one answer',
            hint="put the messages that both answers share into the prompt",
        )
    return said[0][1]


def turns(value: list[Any], place: str) -> list[Turn]:
    """Return the (role, content) turns of a conversation."""
    messages = [nested(each, f"{place}, message {number}") for number, each in enumerate(value, start=1)]
    return [(each.text("role"), text(each, "content")) for each in messages]


def joined(said: list[Turn]) -> str:
    """Return a conversation as text: one message plainly, more than one under their roles."""
    if len(said) == 1:
        return said[0][1]
    names = {"model": "assistant"}
    return "\n".join(f"{names.get(role, role)}: {content}" for role, content in said)
