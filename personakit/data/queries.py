"""Turns what a user types into a `Query`: a full LaMP input as it is, a bare text in a task's wording."""

from __future__ import annotations

from personakit.data.lamp_formats import build_input, parse_input, recognise_task, search_text, task_format
from personakit.errors import UserError
from personakit.records import Query

DEFAULT_TASK = "LaMP_7"
"""The task of a bare text where none is named: to paraphrase it in the user's style."""
INSTRUCTION, PREFERENCE = "instruction", "preference"
"""The tasks of a request that is taken as it is: to a run with a pool of prompts, and of preference data."""


def make_query(text: str, *, task: str | None, id: str = "query", user_id: str = "") -> Query:
    """Return the query that `text` stands for.

    A text in the wording of one of LaMP's tasks is taken as it is; any other is put into the wording of
    `task` (LaMP_7 where none is given).

    Raises:
        UserError: the text is empty, the task is unknown, the input is of another task, or the task's
            wording has several parts (LaMP_1), so that a bare text cannot fill it.
    """
    if not text.strip():
        raise UserError(
            "the query is empty, expected a text", hint='for example personakit infer "out of milk"'
        )
    if task in (INSTRUCTION, PREFERENCE):
        return Query(id, task, text.strip(), text.strip(), user_id)
    found = recognise_task(text)
    wanted = task_format(task).task if task is not None else found or DEFAULT_TASK
    if found is not None and found != wanted:
        raise UserError(
            f"the query is worded as {found}, expected {wanted}",
            hint=f"leave --task out, or give --task {found}",
        )
    if found is None:
        form = task_format(wanted)
        parts = [name for _, name in form.pieces if name is not None and name not in dict(form.fixed_parts)]
        if len(parts) != 1:
            raise UserError(
                f"the query {text[:40]!r} is not worded as {wanted}, which has {len(parts)} parts",
                hint=f"word it in full: {form.template}",
            )
        text = build_input(wanted, **{parts[0]: text.strip()})
    try:
        parse_input(wanted, text)
    except ValueError as error:
        raise UserError(
            f"the query does not follow the wording of {wanted}: {error}", hint=task_format(wanted).template
        ) from error
    return Query(id=id, task=wanted, text=text, search_text=search_text(wanted, text), user_id=user_id)
