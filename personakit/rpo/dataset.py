"""From a training split to what the rewriter is tuned on: drafts, contexts, trajectories, texts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from personakit.contracts import ContextProvider, LanguageModel
from personakit.errors import UserError
from personakit.models.refusal import refusal_reason
from personakit.records import Context, Example
from personakit.rpo.filters import FilterCounts, TrajectoryFilter
from personakit.rpo.prompts import Trajectory, rewriter_prompt
from personakit.rpo.writer import Assignment, TrajectoryWriter
from personakit.tasks.base import Task


@dataclass(frozen=True, slots=True)
class Drafted:
    """A training query with what the rewriter will see of it: the generic answer and the context."""

    task: Task
    example: Example
    draft: str
    context: Context
    refused: str | None = None
    """Why the base refused to answer; there is nothing to rewrite then."""


@dataclass(frozen=True, slots=True)
class TrainingText:
    """One prompt with the completion to learn."""

    prompt: str
    completion: str


def draft_all(
    task: Task,
    examples: Sequence[Example],
    base: LanguageModel,
    provider: ContextProvider,
    *,
    max_new_tokens: int,
) -> list[Drafted]:
    """Ask the base for the generic answers of one task and retrieve each query's context.

    Examples without a gold answer are left out.
    """
    known = [example for example in examples if example.query.gold is not None]
    answers = base.generate([task.prompt(each.query) for each in known], max_new_tokens=max_new_tokens)
    contexts = provider.context([each.query for each in known], [each.profile for each in known])
    return [
        Drafted(task, example, draft_text(task, texts[0]), context, refusal_reason(texts[0]))
        for example, texts, context in zip(known, answers, contexts, strict=True)
    ]


def draft_text(task: Task, raw: str) -> str:
    """The base's answer as the user would see it: what the task finds in it, else the bare text."""
    parsed = task.parse(raw)
    return raw.strip() if parsed is None else parsed


def hold_out(drafted: Sequence[Drafted], count: int) -> tuple[list[Drafted], list[Drafted]]:
    """Take the last `count` of each task out. Raises `UserError` where a task has no more than that."""
    trained: list[Drafted] = []
    held_out: list[Drafted] = []
    for task in dict.fromkeys(each.task.name for each in drafted):
        own = [each for each in drafted if each.task.name == task]
        if count >= len(own):
            raise UserError(
                f"data.held_out is {count}, and {task} has {len(own)} training queries",
                hint="hold out fewer, or train on more",
            )
        trained += own[: len(own) - count]
        held_out += own[len(own) - count :]
    return trained, held_out


def first_of_each_task(drafted: Sequence[Drafted], limit: int | None) -> list[Drafted]:
    """The first `limit` queries of each task, or all, in the order they have."""
    met: Counter[str] = Counter()
    kept = []
    for each in drafted:
        met[each.task.name] += 1
        if limit is None or met[each.task.name] <= limit:
            kept.append(each)
    return kept


def trajectories(
    drafted: Sequence[Drafted],
    writer: TrajectoryWriter,
    keep: TrajectoryFilter,
    *,
    count_tokens: Callable[[str], int],
    max_length: int,
    no_history_share: float,
    seed: int,
) -> tuple[list[TrainingText], FilterCounts]:
    """Write, filter and word the trajectories.

    In a share of them the context is taken away and the draft kept, so that the rewriter learns what
    to do for a user it knows nothing of.
    """
    assignments = [_assignment(each, no_history_share, seed) for each in drafted]
    counts = FilterCounts()
    texts = []
    for each, trajectory in zip(assignments, writer.write_all(assignments), strict=True):
        reason = keep.reason_to_drop(each.task, trajectory, each.expected)
        if reason is not None or not isinstance(trajectory, Trajectory):
            counts.dropped[reason or ""] += 1
            continue
        counts.kept += 1
        prompt = rewriter_prompt(
            each.task, each.query, each.draft, each.context, count_tokens=count_tokens, max_length=max_length
        )
        texts.append(TrainingText(prompt, trajectory.text()))
    return texts, counts


def _assignment(drafted: Drafted, no_history_share: float, seed: int) -> Assignment:
    query = drafted.example.query
    assert query.gold is not None
    draw = random.Random(f"{seed}/{query.task}/{query.id}").random()
    context = Context() if draw < no_history_share else drafted.context
    return Assignment(drafted.task, query, drafted.draft, context, query.gold)


def context_injection_texts(
    drafted: Sequence[Drafted], *, count_tokens: Callable[[str], int], max_length: int
) -> list[TrainingText]:
    """The same queries, items and golds as context injection sees them: the control's training set."""
    return [
        TrainingText(
            each.task.prompt_with_context(
                each.example.query, each.context, count_tokens=count_tokens, max_length=max_length
            ),
            each.example.query.gold or "",
        )
        for each in drafted
    ]
