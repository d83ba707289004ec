"""RPO's Personalizer: a generic answer from a base model, rewritten with the user's history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from personakit.contracts import ContextProvider, LanguageModel
from personakit.models.clock import GenerationTimer
from personakit.models.refusal import refusal_reason
from personakit.records import Answer, Context, Profile, Query
from personakit.rpo.dataset import draft_text
from personakit.rpo.prompts import parse_trajectory, rewriter_prompt
from personakit.tasks.base import Task
from personakit.tasks.registry import get_task

NO_HISTORY = "no history: the generic answer stands"
UNREADABLE = "the rewriter gave no answer in its tags: the generic answer stands"


@dataclass
class Rewriter:
    """Answers with `base`, then lets `model` rewrite the answer as the user would have it.

    Any ContextProvider chooses what the rewriter sees. A user without history gets the generic
    answer; with `rewrite_without_history` the rewriter is run all the same, which is a control
    (a trained rewriter may repair formats and base rates for anyone). Users do not meet: each row of
    a batch is one user's prompt, and nothing is kept between calls.
    """

    base: LanguageModel
    model: LanguageModel
    provider: ContextProvider
    max_length: int = 512
    max_draft_tokens: int | None = None
    max_trajectory_tokens: int = 512
    rewrite_without_history: bool = False

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return one personalised answer per query; `Answer.generic` is the draft, `trace` the rest."""
        if not queries:
            return []
        clock = GenerationTimer(self.base, self.model)
        drafts, base_tokens, refusals = self._drafts(queries)
        contexts = self.provider.context(queries, profiles)
        places = [
            place
            for place, context in enumerate(contexts)
            if self.rewrite_without_history or not context.empty
        ]
        prompts = [self._prompt(queries[place], drafts[place], contexts[place]) for place in places]
        written = self.model.generate(prompts, max_new_tokens=self.max_trajectory_tokens) if prompts else []
        rewrites = {
            place: (prompt, texts[0]) for place, prompt, texts in zip(places, prompts, written, strict=True)
        }
        seconds = clock.seconds() / len(queries)
        return [
            replace(
                self._answer(query, draft, context, tokens, rewrites.get(place), seconds),
                refused=refusals.get(place),
            )
            for place, (query, draft, context, tokens) in enumerate(
                zip(queries, drafts, contexts, base_tokens, strict=True)
            )
        ]

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return log p(`<response>text</response>` | prompt, the trace the rewriter writes itself).

        An approximation: the trace is the greedy one, not summed over. Users without context are
        scored by the base. Raises `UserError` where the base is a black box and such a user occurs.
        """
        answers = self.respond(queries, profiles)
        prompts, completions, places = [], [], []
        scores = [0.0] * len(queries)
        plain = []
        for place, (query, answer, text) in enumerate(zip(queries, answers, texts, strict=True)):
            if not answer.trace:
                plain.append(place)
                continue
            prompt = self._prompt(query, answer.generic or "", answer.context)
            trace = "".join(f"<{name}>{answer.trace[name]}</{name}>" for name in ("evidence", "plan"))
            prompts.append(prompt + trace)
            completions.append(f"<response>{text}</response>")
            places.append(place)
        for place, value in zip(places, self.model.score(prompts, completions), strict=True):
            scores[place] = value
        if plain:
            base = self.base.score(
                [get_task(queries[place].task).prompt(queries[place]) for place in plain],
                [texts[place] for place in plain],
            )
            for place, value in zip(plain, base, strict=True):
                scores[place] = value
        return scores

    def _drafts(self, queries: Sequence[Query]) -> tuple[list[str], list[int], dict[int, str]]:
        """The generic answers, the tokens they took, and why the base refused, by place."""
        drafts = [""] * len(queries)
        tokens = [0] * len(queries)
        refusals: dict[int, str] = {}
        for task, places in _by_task(queries, range(len(queries))):
            prompts = [task.prompt(queries[place]) for place in places]
            cap = self.max_draft_tokens or task.max_new_tokens
            for place, prompt, texts in zip(
                places, prompts, self.base.generate(prompts, max_new_tokens=cap), strict=True
            ):
                drafts[place] = draft_text(task, texts[0])
                if (reason := refusal_reason(texts[0])) is not None:
                    refusals[place] = reason
                tokens[place] = self.base.count_tokens(prompt) + self.base.count_tokens(texts[0])
        return drafts, tokens, refusals

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
            draft_text(task, trajectory.response),
            draft,
            context,
            {"evidence": trajectory.evidence, "plan": trajectory.plan},
            tokens,
            context_tokens,
            seconds,
        )


def _by_task(queries: Sequence[Query], places: Sequence[int]) -> list[tuple[Task, list[int]]]:
    """Group places by task: each has its own length cap, so that no answer depends on its batch."""
    groups: dict[str, list[int]] = {}
    for place in places:
        groups.setdefault(queries[place].task, []).append(place)
    return [(get_task(name), some) for name, some in groups.items()]
