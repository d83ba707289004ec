"""RPO's Personalizer: rewrites a base model's generic answer with the user's history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from personakit.contracts import ContextProvider, LanguageModel
from personakit.models.clock import GenerationTimer
from personakit.models.refusal import Cut, Marks, answer_marks, no_answer_reason
from personakit.records import Answer, Context, Profile, Query
from personakit.rpo.prompts import parse_trajectory, rewriter_prompt
from personakit.tasks.answers import extract_answer, own_texts
from personakit.tasks.base import Task
from personakit.tasks.registry import get_task

NO_HISTORY = "no history: the generic answer stands"
UNREADABLE = "the rewriter gave no answer in its tags: the generic answer stands"


@dataclass
class Rewriter:
    """Generates a draft with `base`, then rewrites it for the user with `model`.

    `provider` selects the rewriter's context. Users without history get the draft unchanged, unless
    `rewrite_without_history` is set: a control, since a trained rewriter may fix formats and base rates for
    any user. Users are independent: each prompt contains one user's data, and no state is kept between calls.
    """

    base: LanguageModel
    model: LanguageModel
    provider: ContextProvider
    max_length: int = 512
    max_draft_tokens: int | None = None
    max_trajectory_tokens: int = 512
    rewrite_without_history: bool = False

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return one answer per query; `Answer.generic` is the draft, `trace` has evidence and plan."""
        if not queries:
            return []
        clock = GenerationTimer(self.base, self.model)
        drafts, raw_drafts, base_tokens = self._drafts(queries, profiles)
        contexts = self.provider.context(queries, profiles)
        indices = [
            index
            for index, context in enumerate(contexts)
            if (self.rewrite_without_history or not context.empty)
            and no_answer_reason(raw_drafts[index]) is None
        ]
        prompts = [self._prompt(queries[index], drafts[index], contexts[index]) for index in indices]
        written = self.model.generate(prompts, max_new_tokens=self.max_trajectory_tokens) if prompts else []
        rewrites = {
            index: (prompt, texts[0]) for index, prompt, texts in zip(indices, prompts, written, strict=True)
        }
        seconds = clock.seconds() / len(queries)
        return [
            replace(
                self._answer(query, profile, draft, context, tokens, rewrites.get(index), seconds),
                **_marks(raw_drafts[index], rewrites.get(index)),
            )
            for index, (query, profile, draft, context, tokens) in enumerate(
                zip(queries, profiles, drafts, contexts, base_tokens, strict=True)
            )
        ]

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return log p(`<response>text</response>` | prompt, trace) in nats, one value per query.

        The trace is the rewriter's greedy one, an approximation of the sum over all traces. Queries without a
        trace (no history) are scored by the base model; raises `UserError` if that is a black box.
        """
        answers = self.respond(queries, profiles)
        prompts, completions, indices = [], [], []
        scores = [0.0] * len(queries)
        without_trace = []
        for index, (query, answer, text) in enumerate(zip(queries, answers, texts, strict=True)):
            if not answer.trace:
                without_trace.append(index)
                continue
            prompt = self._prompt(query, answer.generic or "", answer.context)
            trace = "".join(f"<{name}>{answer.trace[name]}</{name}>" for name in ("evidence", "plan"))
            prompts.append(prompt + trace)
            completions.append(f"<response>{text}</response>")
            indices.append(index)
        for index, value in zip(indices, self.model.score(prompts, completions), strict=True):
            scores[index] = value
        if without_trace:
            base = self.base.score(
                [get_task(queries[index].task).prompt(queries[index]) for index in without_trace],
                [texts[index] for index in without_trace],
            )
            for index, value in zip(without_trace, base, strict=True):
                scores[index] = value
        return scores

    def _drafts(
        self, queries: Sequence[Query], profiles: Sequence[Profile]
    ) -> tuple[list[str], list[str], list[int]]:
        """Return drafts, the completions they were read from, and token counts (prompt and answer)."""
        drafts = [""] * len(queries)
        raw = [""] * len(queries)
        tokens = [0] * len(queries)
        for task, indices in _by_task(queries):
            prompts = [task.prompt(queries[index]) for index in indices]
            cap = self.max_draft_tokens or task.max_new_tokens
            for index, prompt, texts in zip(
                indices, prompts, self.base.generate(prompts, max_new_tokens=cap), strict=True
            ):
                own = own_texts(task, queries[index], profiles[index].items)
                drafts[index], raw[index] = extract_answer(texts[0], task, own), texts[0]
                tokens[index] = self.base.count_tokens(prompt) + self.base.count_tokens(texts[0])
        return drafts, raw, tokens

    def _prompt(self, query: Query, draft: str, context: Context) -> str:
        return rewriter_prompt(
            get_task(query.task),
            query,
            draft,
            context,
            count_tokens=self.model.count_tokens,
            max_length=self.max_length,
        )

    def _answer(
        self,
        query: Query,
        profile: Profile,
        draft: str,
        context: Context,
        base_tokens: int,
        rewrite: tuple[str, str] | None,
        seconds: float,
    ) -> Answer:
        if rewrite is None:
            return Answer(draft, draft, context, tokens=base_tokens, seconds=seconds, degraded=NO_HISTORY)
        prompt, written = rewrite
        prompt_tokens = self.model.count_tokens(prompt)
        tokens = base_tokens + prompt_tokens + self.model.count_tokens(written)
        context_tokens = prompt_tokens - self.model.count_tokens(self._prompt(query, draft, Context()))
        trajectory = parse_trajectory(written)
        if trajectory is None or not trajectory.response:
            return Answer(
                draft,
                draft,
                context,
                tokens=tokens,
                context_tokens=context_tokens,
                seconds=seconds,
                degraded=UNREADABLE,
            )
        task = get_task(query.task)
        return Answer(
            extract_answer(trajectory.response, task, own_texts(task, query, profile.items, draft)),
            draft,
            context,
            {"evidence": trajectory.evidence, "plan": trajectory.plan},
            tokens,
            context_tokens,
            seconds,
        )


def _marks(draft: str, rewrite: tuple[str, str] | None) -> Marks:
    """Return the marks of an answer. A rewrite that is not cut completes a draft that is."""
    if rewrite is None:
        return answer_marks(draft)
    return {**answer_marks(draft, rewrite[1]), "cut": isinstance(rewrite[1], Cut)}


def _by_task(queries: Sequence[Query]) -> list[tuple[Task, list[int]]]:
    """Group query indices by task. Each task has its own maximum length, whatever else is in the batch."""
    groups: dict[str, list[int]] = {}
    for index, query in enumerate(queries):
        groups.setdefault(query.task, []).append(index)
    return [(get_task(name), indices) for name, indices in groups.items()]
