"""What the rewriter reads and writes: one prompt, three tags.

The paper (arXiv 2511.05286) conditions its reflection module on the generic answer and the retrieved
history; whether it also sees the request is not known, and ours does: on LaMP-1..3 the generic answer
alone says nothing. The wording is our choice: the request with the user's items in it exactly as
context injection words it (so that the two differ in the draft alone), then the draft.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from personakit.records import Context, Query
from personakit.tasks.base import Task

DRAFT = "\nDraft of somebody who does not know this user: "
REWRITE = "\nRewrite the draft the way this user would.\n"
FIELDS = ("evidence", "plan", "response")
TAGS = tuple(f"<{close}{field}>" for field in FIELDS for close in ("", "/"))


def rewriter_prompt(
    task: Task,
    query: Query,
    draft: str,
    context: Context,
    *,
    count_tokens: Callable[[str], int],
    max_length: int,
) -> str:
    """Return the rewriter's prompt, of at most `max_length` tokens where the items can be cut to fit.

    Request and draft are never cut.
    """
    ending = DRAFT + draft + REWRITE
    return (
        task.prompt_with_context(
            query, context, count_tokens=count_tokens, max_length=max_length - count_tokens(ending)
        )
        + ending
    )


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A structured rewriting trajectory. Only `response` reaches the user; the rest is the trace."""

    evidence: str
    plan: str
    response: str

    def text(self) -> str:
        """The trajectory as the rewriter writes it."""
        return "".join(f"<{field}>{getattr(self, field)}</{field}>" for field in FIELDS)


_WRITTEN = re.compile(
    r"\s*" + r"\s*".join(rf"<{field}>(?P<{field}>.*?)</{field}>" for field in FIELDS) + r"\s*", re.DOTALL
)


def parse_trajectory(text: str) -> Trajectory | None:
    """Read back what the rewriter wrote; None unless each of the tags is there once, in order."""
    found = _WRITTEN.fullmatch(text)
    if found is None or any(text.count(tag) != 1 for tag in TAGS):
        return None
    return Trajectory(**{field: found[field].strip() for field in FIELDS})
