"""Builds the rewriter's training data from a training split: drafts, contexts, trajectories, texts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from personakit.contracts import ContextProvider, LanguageModel
from personakit.errors import UserError
from personakit.models.refusal import no_answer_reason, refusal_reason
from personakit.records import Context, Example
from personakit.rpo.filters import FilterCounts, TrajectoryFilter
from personakit.rpo.prompts import Trajectory, rewriter_prompt
from personakit.rpo.writer import TrajectoryRequest, TrajectoryWriter
from personakit.tasks.answers import extract_answer, own_texts
from personakit.tasks.base import Task


@dataclass(frozen=True, slots=True)
class DraftedQuery:
    """A training query with the rewriter's inputs: the generic answer and the retrieved context."""

    task: Task
    example: Example
    draft: str
    context: Context
    refused: str | None = None
    """Why there is no draft to rewrite (the base model refused, or the request failed), or None."""
    given: bool = False
    """Whether the draft is the query's own text, not a base model's answer."""


@dataclass(frozen=True, slots=True)
class TrainingText:
    """A prompt and its target completion."""

    prompt: str
    completion: str


def draft_all(
    task: Task,
    examples: Sequence[Example],
    base: LanguageModel | None,
    provider: ContextProvider,
    *,
    max_new_tokens: int,
) -> list[DraftedQuery]:
    """Generate the base model's answers for one task and retrieve each query's context.

    Without a base model the drafts are the given texts. Examples without a gold answer are skipped.
    """
    labelled = [example for example in examples if example.query.gold is not None]
    answers = (
        [[each.query.search_text] for each in labelled]
        if base is None
        else base.generate([task.prompt(each.query) for each in labelled], max_new_tokens=max_new_tokens)
    )
    contexts = provider.context([each.query for each in labelled], [each.profile for each in labelled])
    return [
        DraftedQuery(
            task,
            example,
            texts[0]
            if base is None
            else extract_answer(texts[0], task, own_texts(task, example.query, example.profile.items)),
            context,
            refusal_reason(texts[0]) or no_answer_reason(texts[0]),
            given=base is None,
        )
        for example, texts, context in zip(labelled, answers, contexts, strict=True)
    ]


def hold_out(drafted: Sequence[DraftedQuery], count: int) -> tuple[list[DraftedQuery], list[DraftedQuery]]:
    """Hold out `count` queries of each task; return training and held-out queries.

    They are those of users spread evenly over the data, whose other queries are not trained on, because their
    histories tell the held-out answers. Where that leaves nothing to train on, they are the last `count`.
    Raises `UserError` if a task has no more than `count` queries.
    """
    trained: list[DraftedQuery] = []
    held_out: list[DraftedQuery] = []
    for task in dict.fromkeys(each.task.name for each in drafted):
        own = [each for each in drafted if each.task.name == task]
        if count >= len(own):
            raise UserError(
                f"data.held_out is {count}, expected less than the {len(own)} training queries of {task}",
                hint="lower data.held_out, or use more training data",
            )
        users = _spread_users(own, count)
        others = [each for each in own if each.example.query.user_id not in users]
        chosen = [each for each in own if each.example.query.user_id in users]
        if not others:
            others, chosen = own[: len(own) - count], own[len(own) - count :]
        trained += others
        held_out += chosen[:count]
    return trained, held_out


def _spread_users(queries: Sequence[DraftedQuery], count: int) -> set[str]:
    """Return users, spread evenly over the data, with at least `count` of the queries together."""
    counts = Counter(each.example.query.user_id for each in queries)
    users = list(counts)
    for number in range(len(users) + 1):
        chosen = {users[(2 * place + 1) * len(users) // (2 * number)] for place in range(number)}
        if sum(counts[user] for user in chosen) >= count:
            return chosen
    return set(users)


def first_of_each_task(drafted: Sequence[DraftedQuery], limit: int | None) -> list[DraftedQuery]:
    """Return the first `limit` queries of each task (None: all), in their order."""
    counts: Counter[str] = Counter()
    kept = []
    for each in drafted:
        counts[each.task.name] += 1
        if limit is None or counts[each.task.name] <= limit:
            kept.append(each)
    return kept


def trajectories(
    drafted: Sequence[DraftedQuery],
    writer: TrajectoryWriter,
    trajectory_filter: TrajectoryFilter,
    *,
    count_tokens: Callable[[str], int],
    max_length: int,
    no_history_share: float,
    seed: int,
) -> tuple[list[TrainingText], FilterCounts]:
    """Write and filter trajectories; return prompt-completion pairs and the filter's counts.

    A `no_history_share` of the queries gets an empty context and the draft as target, so that the rewriter
    learns to leave the draft of an unknown user unchanged. Users of the data who have no history keep their
    gold answer as target, as in RL.
    """
    requests = [_trajectory_request(each, no_history_share, seed) for each in drafted]
    counts = FilterCounts()
    texts = []
    for source, each, trajectory in zip(drafted, requests, writer.write_all(requests), strict=True):
        reason = trajectory_filter.reason_to_drop(each.task, trajectory, each.expected)
        if reason is not None or not isinstance(trajectory, Trajectory):
            counts.dropped[reason or ""] += 1
            continue
        counts.kept += 1
        prompt = rewriter_prompt(
            each.task,
            each.query,
            each.draft,
            each.context,
            count_tokens=count_tokens,
            max_length=max_length,
            given=source.given,
        )
        texts.append(TrainingText(prompt, trajectory.text(traced=trajectory_filter.traced)))
    return texts, counts


def _trajectory_request(drafted: DraftedQuery, no_history_share: float, seed: int) -> TrajectoryRequest:
    query = drafted.example.query
    assert query.gold is not None
    draw = random.Random(f"{seed}/{query.task}/{query.id}").random()
    dropped = draw < no_history_share
    context = Context() if dropped else drafted.context
    return TrajectoryRequest(drafted.task, query, drafted.draft, context, query.gold, keep_draft=dropped)


def context_injection_texts(
    drafted: Sequence[DraftedQuery], *, count_tokens: Callable[[str], int], max_length: int
) -> list[TrainingText]:
    """Return the control's training set: context injection prompts of the same queries, items and answers."""
    return [
        TrainingText(
            each.task.prompt_with_context(
                each.example.query, each.context, count_tokens=count_tokens, max_length=max_length
            ),
            each.example.query.gold or "",
        )
        for each in drafted
    ]
