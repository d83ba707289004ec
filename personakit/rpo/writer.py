"""The trajectory writer interface, and the writers without a model: `template` (by rules) and `none`.

Evidence depends on query, draft and items only, never on the gold answer: the rewriter must be able to write
it at test time. The plan describes the edits from draft to gold answer without content words ("add before"),
so that it does not reveal the answer.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from personakit.records import Context, ProfileItem, Query
from personakit.rpo.prompts import DRAFT, Trajectory
from personakit.tasks.base import Task

GOLD = "\nWhat this user answered: "
NOTHING = "nothing"
KEEP = "keep the draft"
DECIDE = "decide as this user would"
_QUOTED_ITEMS = 2
_QUOTED_WORDS = 24


@dataclass(frozen=True, slots=True)
class TrajectoryRequest:
    """A training query to write a trajectory for: the rewriter's inputs and the gold answer.

    `keep_draft`: the history was left out, and the response should be the draft.
    """

    task: Task
    query: Query
    draft: str
    context: Context
    gold: str
    keep_draft: bool = False

    @property
    def expected(self) -> str:
        """The target response: the gold answer, or the draft where that should be kept."""
        return self.draft if self.keep_draft else self.gold


class TrajectoryWriter(Protocol):
    """Writes trajectories that lead from the draft to the gold answer."""

    def write_all(self, requests: Sequence[TrajectoryRequest]) -> Sequence[Trajectory | str | None]:
        """Return one result per request: a trajectory, an unparsable text, or None for no output."""
        ...


class ResponseWriter:
    """Writes the response alone, without a trace."""

    def write_all(self, requests: Sequence[TrajectoryRequest]) -> list[Trajectory]:
        """Return one trajectory per request, with empty evidence and plan."""
        return [Trajectory("", "", each.expected) for each in requests]


class PromptedWriter(ABC):
    """Writes trajectories with a language model that sees the gold answer (`teacher`, `own`)."""

    order: ClassVar[str]
    """The end of the prompt: what to write."""

    def __init__(
        self,
        generate: Callable[[Sequence[str]], Sequence[str]],
        *,
        count_tokens: Callable[[str], int],
        max_length: int,
    ) -> None:
        """`generate` maps prompts to one reply each; items are truncated to fit `max_length` tokens."""
        self._generate = generate
        self._count_tokens = count_tokens
        self._max_length = max_length

    def write_all(self, requests: Sequence[TrajectoryRequest]) -> list[Trajectory | str | None]:
        """Return one trajectory per request; an unusable reply as text; None for an empty reply.

        Without context there is nothing to explain: the trajectory is the template's and takes no request.
        """
        with_context = [each for each in requests if not each.context.empty]
        replies = iter(self._generate([self.prompt(each) for each in with_context]))
        return [
            TemplateWriter().write(each) if each.context.empty else self.read(next(replies), each)
            for each in requests
        ]

    def prompt(self, each: TrajectoryRequest) -> str:
        """Return the prompt: the query with its context, draft, gold answer and the order."""
        query_prompt = each.task.prompt_with_context(
            each.query, each.context, count_tokens=self._count_tokens, max_length=self._max_length
        )
        return query_prompt + DRAFT + each.draft + GOLD + each.gold + self.order

    @abstractmethod
    def read(self, reply: str, each: TrajectoryRequest) -> Trajectory | str | None:
        """Return the trajectory in a reply; the text if it is unusable; None if it is empty."""


class TemplateWriter:
    """Writes trajectories by rules: evidence from the top-ranked items, the plan from an edit diff."""

    def write_all(self, requests: Sequence[TrajectoryRequest]) -> list[Trajectory]:
        """Return one trajectory per request; see `write`."""
        return [self.write(each) for each in requests]

    def write(self, each: TrajectoryRequest) -> Trajectory:
        """Return a trajectory whose response is the expected one."""
        if each.keep_draft:
            return Trajectory(NOTHING, KEEP, each.draft)
        shown = evidence(each.task, each.query, each.draft, each.context)
        return Trajectory(shown, plan(each.task, each.draft, each.gold), each.gold)


def evidence(task: Task, query: Query, draft: str, context: Context) -> str:
    """Quote the summary and the user's output of each item.

    In generation tasks only the first two items are quoted, and only the words the user added: those that
    occur neither in the item's input nor in the query or draft.
    """
    items = context.items[:_QUOTED_ITEMS] if task.kind == "generation" else context.items
    quotes = [context.summary or "", *(_quote(task, query, draft, item) for item in items)]
    return " ".join(f'"{text}"' for text in quotes if text) or NOTHING


def _quote(task: Task, query: Query, draft: str, item: ProfileItem) -> str:
    item_input, item_output = task.item_parts(item)
    words = item_output.split()
    if task.kind != "generation":
        return " ".join(words[:_QUOTED_WORDS])
    known = {*_words(item_input or ""), *_words(query.search_text), *_words(draft)}
    added = [word for word in words if _bare(word) and _bare(word) not in known]
    return " ".join(added[:_QUOTED_WORDS])


def plan(task: Task, draft: str, gold: str) -> str:
    """Describe the edits from `draft` to `gold` without any of their words.

    For labels and scores (LaMP-1 to LaMP-3) the plan is always `DECIDE`: a plan that named the outcome would
    make the decision before the response does.
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
            position = "before" if start == 0 else "after" if start == len(before) else "within"
            step = f"add {position}"
        elif operation == "delete":
            step = "drop"
        else:
            position = " at the start" if start == 0 else " at the end" if end == len(before) else ""
            step = f"replace{position}"
        if step not in steps:
            steps.append(step)
    return steps


def _words(text: str) -> list[str]:
    return [bare for word in text.split() if (bare := _bare(word))]


def _bare(word: str) -> str:
    """Return the word lower-cased, without surrounding punctuation."""
    return word.strip(".,;:!?\"'()[]").casefold()
