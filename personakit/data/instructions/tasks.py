"""LaMP's tasks and rewriting as instructions, and a user's history as the prompts to pick from.

The template of a task is the instruction, the user's own part of the input its input. An item of the
profile is a worked example of the same instruction, made of what the user began with and what they made
of it. LaMP_1's items are papers, which answer another question than its queries; LaMP_7's have no input.
"""

from __future__ import annotations

from functools import cache

from personakit.data.lamp_formats import item_input, item_output, parse_input, task_format
from personakit.records import Instruction, Pool, Profile, Query

_CITATION = "Give the title of the paper with the following abstract:"


def task_instruction(query: Query) -> Instruction:
    """Return a query as an instruction; one without a gold has an empty answer."""
    task = query.task
    wording, part = _wording(task)
    if part is None:
        return Instruction(query.id, query.text, "", query.gold or "", task)
    return Instruction(query.id, wording, parse_input(task, query.text)[part], query.gold or "", task)


def item_prompts(task: str, profile: Profile) -> Pool:
    """Return the items of a profile as worked examples, in the profile's order."""
    wording, part = _wording(task)
    return Pool.of(
        Instruction(
            item.id,
            wording if part is not None else _CITATION,
            item_input(task, item) or "",
            item_output(task, item),
            task,
        )
        for item in profile.items
    )


@cache
def _wording(task: str) -> tuple[str, str | None]:
    """The instruction of a task, and the part of its input that follows it (None: it is all one)."""
    form = task_format(task)
    fixed = dict(form.fixed_parts)
    free = [name for _, name in form.pieces if name is not None and name not in fixed]
    if len(free) > 1:
        return form.template, None
    before = form.template.partition("{" + free[0] + "}")[0]
    return before.format(**fixed).strip(), free[0]
