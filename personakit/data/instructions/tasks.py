"""LaMP tasks and rewriting as instructions, and a user's profile as a prompt pool.

The task's template becomes the instruction, the user's part of the input the instruction's input. A profile
item becomes a worked example of the same instruction. Two tasks differ: LaMP_1's items are papers, which
answer a different question than its queries, and LaMP_7's items have no input.
"""

from __future__ import annotations

from functools import cache

from personakit.data.lamp_formats import item_input, item_output, parse_input, task_format
from personakit.records import Instruction, Pool, Profile, Query

_CITATION = "Give the title of the paper with the following abstract:"


def task_instruction(query: Query) -> Instruction:
    """Return a query as an instruction. Without a gold answer, its output is empty."""
    task = query.task
    wording, part = _instruction_and_part(task)
    if part is None:
        return Instruction(query.id, query.text, "", query.gold or "", task)
    return Instruction(query.id, wording, parse_input(task, query.text)[part], query.gold or "", task)


def profile_pool(task: str, profile: Profile) -> Pool:
    """Return the items of a profile as worked examples, in the profile's order."""
    wording, part = _instruction_and_part(task)
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
def _instruction_and_part(task: str) -> tuple[str, str | None]:
    """Return a task's instruction and the name of its free input part (None if the template has several)."""
    format_ = task_format(task)
    fixed = dict(format_.fixed_parts)
    free = [name for _, name in format_.pieces if name is not None and name not in fixed]
    if len(free) > 1:
        return format_.template, None
    before = format_.template.partition("{" + free[0] + "}")[0]
    return before.format(**fixed).strip(), free[0]
