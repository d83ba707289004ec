"""Converts user input to a `Query`: a complete LaMP input, or a text that a task's template is applied to."""

from __future__ import annotations

from personakit.data.lamp_formats import build_input, parse_input, recognise_task, search_text, task_format
from personakit.errors import UserError
from personakit.records import Query

DEFAULT_TASK = "LaMP_7"
"""The task for a text without a template: to paraphrase it in the user's style."""
INSTRUCTION, PREFERENCE = "instruction", "preference"
"""Tasks without a template: for runs with a prompt pool, and for preference data."""


def make_query(text: str, *, task: str | None, id: str = "query", user_id: str = "") -> Query:
    """Return the query for `text`.

    A text that follows the template of a LaMP task is used unchanged; otherwise the template of `task`
    (LaMP_7 by default) is applied to it.

    Raises:
        UserError: the text is empty or has a NUL character, the task is unknown, the input belongs to another
            task, or the task's template has several parts (LaMP_1).
    """
    if not text.strip():
        raise UserError(
            "the query is empty, expected a text", hint='for example personakit infer "out of milk"'
        )
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise UserError(f"line {line} of the query has a NUL character, expected a text", hint="remove it")
    if task in (INSTRUCTION, PREFERENCE):
        return Query(id, task, text.strip(), text.strip(), user_id)
    found = recognise_task(text)
    chosen_task = task_format(task).task if task is not None else found or DEFAULT_TASK
    if found is not None and found != chosen_task:
        raise UserError(
            f"the query follows the template of {found}, expected {chosen_task}",
            hint=f"omit --task, or use --task {found}",
        )
    if found is None:
        format_ = task_format(chosen_task)
        parts = [
            name for _, name in format_.pieces if name is not None and name not in dict(format_.fixed_parts)
        ]
        if len(parts) != 1:
            raise UserError(
                f"the query {text[:40]!r} does not follow the template of {chosen_task}, "
                f"which has {len(parts)} parts",
                hint=f"give the complete input: {format_.template}",
            )
        text = build_input(chosen_task, **{parts[0]: text.strip()})
    try:
        parse_input(chosen_task, text)
    except ValueError as error:
        raise UserError(
            f"the query does not follow the template of {chosen_task}: {error}",
            hint=task_format(chosen_task).template,
        ) from error
    return Query(
        id=id, task=chosen_task, text=text, search_text=search_text(chosen_task, text), user_id=user_id
    )
