"""Estimates the API requests of `personakit train rpo`: generic answers and the teacher's trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from personakit.config import TrainRPO
from personakit.contracts import ContextProvider
from personakit.models.cost import CostEstimate, RequestMeter, approximate_token_counter
from personakit.models.open import is_endpoint
from personakit.records import Context, Profile, Query
from personakit.retrieval import open_retriever
from personakit.rpo.choices import needs_base, uses_given_text
from personakit.rpo.dataset import DraftedQuery, draft_all, first_of_each_task, hold_out, trajectories
from personakit.rpo.filters import TrajectoryFilter
from personakit.rpo.teacher import TeacherWriter, reply_tokens, teacher_name
from personakit.rpo.train import training_stores
from personakit.tasks import get_task


def estimate_requests(config: TrainRPO) -> list[CostEstimate]:
    """Count the requests to endpoints by preparing the training data without sending a request.

    A generic answer that is not cached is assumed to be as long as the gold answer, and a teacher request
    that depends on it counts as not cached.
    """
    uses_teacher = config.trajectories.writer == "teacher"
    teacher_is_endpoint = uses_teacher and is_endpoint(teacher_name(config))
    base_is_endpoint = needs_base(config) and is_endpoint(config.base)
    if not (base_is_endpoint or teacher_is_endpoint):
        return []
    tokens = approximate_token_counter(config.model)
    base = RequestMeter(config.base, tokens=tokens)
    provider = _provider(config) if teacher_is_endpoint else _NoItems()
    drafted: list[DraftedQuery] = []
    for store in training_stores(config):
        task = get_task(store.task)
        cap = config.decoding.max_new_tokens or task.max_new_tokens
        asked = None if uses_given_text(config.draft, task) else base
        drafted += draft_all(task, list(store), asked, provider, max_new_tokens=cap)
    estimates = [base.estimate("generic answers")] if base_is_endpoint else []
    if teacher_is_endpoint:
        teacher = RequestMeter(teacher_name(config), tokens=tokens)
        trained, held_out = hold_out(drafted, config.data.held_out)
        taught = [*first_of_each_task(trained, config.trajectories.limit), *held_out]
        _count_teacher_requests(config, teacher, [_with_assumed_draft(each) for each in taught])
        estimates.append(teacher.estimate("trajectories"))
    return estimates


def _count_teacher_requests(config: TrainRPO, teacher: RequestMeter, drafted: Sequence[DraftedQuery]) -> None:
    def generate(prompts: Sequence[str]) -> list[str]:
        return [texts[0] for texts in teacher.generate(prompts, max_new_tokens=reply_tokens(config))]

    trajectories(
        drafted,
        TeacherWriter(generate, count_tokens=teacher.count_tokens, max_length=config.prompt_tokens),
        TrajectoryFilter(teacher.count_tokens, config.trajectories.max_tokens),
        count_tokens=teacher.count_tokens,
        max_length=config.prompt_tokens,
        no_history_share=config.trajectories.no_history_share,
        seed=config.seed,
    )


def _with_assumed_draft(each: DraftedQuery) -> DraftedQuery:
    return each if each.draft else replace(each, draft=each.example.query.gold or "")


def _provider(config: TrainRPO) -> ContextProvider:
    """Return the retriever, or recency in place of a dense one: counting tokens needs no encoder."""
    name = config.retrieval.name
    return open_retriever("recency" if name.startswith("dense") or ":" in name else name, config.retrieval.k)


class _NoItems:
    """Retrieves nothing: generic answers do not depend on the history."""

    def context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Context]:
        return [Context() for _ in queries]
