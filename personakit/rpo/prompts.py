"""The rewriter's prompt and its output format: a trajectory in three tags, or the response alone.

The paper (arXiv 2511.05286) conditions its reflection module on the generic answer and the retrieved
history; whether it also sees the query is unknown. Ours does, because on LaMP-1 to LaMP-3 the generic answer
alone carries no information. The wording is our choice: the prompt of context injection, followed by the
draft, so that the two methods differ in the draft only. A draft that is the given text itself stands in the
query already and is not repeated. Labels are chosen, not rewritten: after 480 real reviews, SmolLM2 asked to
rewrite the draft gave everybody the most frequent rating; asked to answer, it did not (docs/rpo.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from personakit.records import Context, Query
from personakit.tasks.base import Task

DRAFT = "\nDraft of somebody who does not know this user: "
REWRITE = "\nRewrite the draft the way this user would.\n"
CHOOSE = "\nAnswer the way this user would.\n"
REWRITE_GIVEN = "\nRewrite the text the way this user would.\n"
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
    given: bool = False,
) -> str:
    """Return the rewriter's prompt. Items are truncated to fit `max_length` tokens; query and draft never."""
    return prompt_and_context(
        task, query, draft, context, count_tokens=count_tokens, max_length=max_length, given=given
    )[0]


def prompt_and_context(
    task: Task,
    query: Query,
    draft: str,
    context: Context,
    *,
    count_tokens: Callable[[str], int],
    max_length: int,
    window: int | None = None,
    given: bool = False,
) -> tuple[str, Context]:
    """Return the rewriter's prompt, and the context without the items that did not fit.

    `window` is the most tokens that the rewriter reads. With `given`, the draft is the query's own text.
    """
    ending = REWRITE_GIVEN if given else DRAFT + draft + (CHOOSE if task.labels else REWRITE)
    taken = count_tokens(ending)
    prompt, shown = task.prompt_and_context(
        query,
        context,
        count_tokens=count_tokens,
        max_length=max_length - taken,
        window=None if window is None else window - taken,
    )
    return prompt + ending, shown


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A structured rewriting trajectory. The user gets `response`; evidence and plan are the trace."""

    evidence: str
    plan: str
    response: str

    def text(self, *, traced: bool = True) -> str:
        """Return the trajectory as the rewriter writes it: in its tags, or the response alone."""
        if not traced:
            return self.response
        return trace_text(self.trace) + f"<response>{self.response}</response>"

    @property
    def trace(self) -> dict[str, str]:
        """Evidence and plan by their names."""
        return {"evidence": self.evidence, "plan": self.plan}


def trace_text(trace: Mapping[str, str]) -> str:
    """Return a trace in its tags; parts that it lacks are empty."""
    return "".join(f"<{field}>{trace.get(field, '')}</{field}>" for field in FIELDS[:-1])


_WRITTEN = re.compile(
    r"\s*" + r"\s*".join(rf"<{field}>(?P<{field}>.*?)</{field}>" for field in FIELDS) + r"\s*", re.DOTALL
)


def parse_trajectory(text: str, *, traced: bool = True) -> Trajectory | None:
    """Parse the rewriter's output; None unless it has each tag exactly once, in order.

    A rewriter without a trace (`traced` false) writes the response alone: any text is one.
    """
    if not traced:
        return Trajectory("", "", text.strip())
    found = _WRITTEN.fullmatch(text)
    if found is None or any(text.count(tag) != 1 for tag in TAGS):
        return None
    return Trajectory(**{field: found[field].strip() for field in FIELDS})
