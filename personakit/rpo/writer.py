"""What a trajectory writer is, and the `template` one: by code, offline, the same every time.

Evidence is worked out from the request, the draft and the items alone, never from the gold answer: it
must be writable at test time. The plan is the difference between draft and gold in words that name no
content ("add words before"), so that it says what to do without saying the answer.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from personakit.records import Context, ProfileItem, Query
from personakit.rpo.prompts import Trajectory
from personakit.tasks.base import Task

NOTHING = "nothing"
KEEP = "keep the draft"
DECIDE = "decide as this user would"
_QUOTED_ITEMS = 2
_QUOTED_WORDS = 24


@dataclass(frozen=True, slots=True)
class Assignment:
    """A training query to write a trajectory for: what the rewriter will see of it, and its gold answer."""

    task: Task
    query: Query
    draft: str
    context: Context
    gold: str

    @property
    def expected(self) -> str:
        """What the response has to be: gold; without any context, the draft."""
        return self.draft if self.context.empty else self.gold


class TrajectoryWriter(Protocol):
    """Writes how one gets from the draft to the gold answer."""

    def write_all(self, assignments: Sequence[Assignment]) -> Sequence[Trajectory | str | None]:
        """Return for each assignment a trajectory, a text that is none, or None where nothing came."""
        ...


class TemplateWriter:
    """Evidence: what the items ranked first show. Plan: how the draft has to change."""

    def write_all(self, assignments: Sequence[Assignment]) -> list[Trajectory]:
        """Return one trajectory each; see `write`."""
        return [
            self.write(each.task, each.query, each.draft, each.context, each.gold) for each in assignments
        ]

    def write(self, task: Task, query: Query, draft: str, context: Context, gold: str) -> Trajectory:
        """Return a trajectory whose response is `gold`; without any context, the draft is kept."""
        if context.empty:
            return Trajectory(NOTHING, KEEP, draft)
        return Trajectory(evidence(task, query, draft, context), plan(task, draft, gold), gold)


def evidence(task: Task, query: Query, draft: str, context: Context) -> str:
    """Quote a summary, and what the user made of each item; for free text, what they added in the first two.

    A word is *added* if it stands neither in what the item was made from nor in the request or draft.
    """
    items = context.items[:_QUOTED_ITEMS] if task.kind == "generation" else context.items
    shown = [context.summary or "", *(_shown(task, query, draft, item) for item in items)]
    return " ".join(f'"{text}"' for text in shown if text) or NOTHING


def _shown(task: Task, query: Query, draft: str, item: ProfileItem) -> str:
    made_from, made = task.item_parts(item)
    words = made.split()
    if task.kind != "generation":
        return " ".join(words[:_QUOTED_WORDS])
    known = {*_words(made_from or ""), *_words(query.search_text), *_words(draft)}
    added = [word for word in words if _bare(word) and _bare(word) not in known]
    return " ".join(added[:_QUOTED_WORDS])


def plan(task: Task, draft: str, gold: str) -> str:
    """Say how `draft` has to change to become `gold`, without any word of either.

    Of a label or a score nothing can be kept: there a rewrite is the decision made again (LaMP-1..3),
    and a plan that told the outcome would decide before the response does.
    """
    if task.kind != "generation":
        return DECIDE
    return ", ".join(_edits(draft.split(), gold.split()))


def _edits(before: list[str], after: list[str]) -> list[str]:
    steps: list[str] = []
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for operation, start, end, _, _ in matcher.get_opcodes():
        if operation == "equal":
            step = "keep"
        elif operation == "insert":
            place = "before" if start == 0 else "after" if start == len(before) else "within"
            step = f"add {place}"
        elif operation == "delete":
            step = "drop"
        else:
            place = " at the start" if start == 0 else " at the end" if end == len(before) else ""
            step = f"replace{place}"
        if step not in steps:
            steps.append(step)
    return steps


def _words(text: str) -> list[str]:
    return [bare for word in text.split() if (bare := _bare(word))]


def _bare(word: str) -> str:
    """The word without case and without punctuation around it."""
    return word.strip(".,;:!?\"'()[]").casefold()
