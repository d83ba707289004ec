"""RPO's Personalizer: rewrites a base model's generic answer with the user's history."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from personakit.contracts import ContextProvider, LanguageModel
from personakit.errors import UserError
from personakit.models.clock import GenerationTimer
from personakit.models.refusal import Cut, Marks, answer_marks, no_answer_reason
from personakit.models.windows import prompt_limit, unread_tokens
from personakit.records import Answer, Context, Profile, Query
from personakit.rpo.choices import uses_given_text
from personakit.rpo.prompts import parse_trajectory, prompt_and_context, trace_text
from personakit.tasks.answers import extract_answer, own_texts
from personakit.tasks.base import Task
from personakit.tasks.registry import get_task

NO_HISTORY = "no history: the draft stands"
#: The most tokens of a rewrite over those of a given text: a longer one repeats itself. People's own
#: revisions of e-mails are hardly ever that long. Our choice.
LONGEST_REWRITE = 4
#: Limits are multiples of this, so that few of them are in a batch; at least one more leaves room for an
#: opening and a sign-off.
_STEP = 64
RAN_ON = f"the rewrite ran on beyond {LONGEST_REWRITE} times the draft's length: the draft stands"
UNREADABLE = "the rewriter gave no readable answer: the draft stands"


@dataclass
class Rewriter:
    """Takes the given text or generates a draft with `base`, then rewrites it for the user with `model`.

    `provider` selects the rewriter's context. Users without history get the draft unchanged, unless
    `rewrite_without_history` is set: where training did not teach to keep it, and as a control, since a
    trained rewriter may fix formats and base rates for any user. A rewriter that is not `traced` writes the
    response alone. `draft` says where drafts come from (`choices.uses_given_text`); given texts, and queries
    with a `Query.draft`, need no `base`. Users are independent: each prompt contains one user's data, and no
    state is kept between calls.
    """

    base: LanguageModel | None
    model: LanguageModel
    provider: ContextProvider
    max_length: int = 512
    max_draft_tokens: int | None = None
    max_trajectory_tokens: int = 512
    rewrite_without_history: bool = False
    traced: bool = True
    draft: str = "base"

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return one answer per query; `Answer.generic` is the draft, `trace` has evidence and plan."""
        if not queries:
            return []
        clock = GenerationTimer(*filter(None, (self.base, self.model)))
        drafts, raw_drafts, base_tokens, cuts = self._drafts(queries, profiles)
        contexts = self.provider.context(queries, profiles)
        indices = [
            index
            for index, context in enumerate(contexts)
            if (self.rewrite_without_history or not context.empty)
            and no_answer_reason(raw_drafts[index]) is None
        ]
        prompts = []
        for index in indices:
            prompt, contexts[index] = self._prompt(queries[index], drafts[index], contexts[index])
            prompts.append(prompt)
        rewrites = self._rewrites(queries, drafts, indices, prompts)
        seconds = clock.seconds() / len(queries)
        answers = [
            self._answer(query, profile, draft, context, tokens, rewrites.get(index), seconds)
            for index, (query, profile, draft, context, tokens) in enumerate(
                zip(queries, profiles, drafts, contexts, base_tokens, strict=True)
            )
        ]
        all_marks = [_marks(raw, rewrites.get(index)) for index, raw in enumerate(raw_drafts)]
        for answer, marks in zip(answers, all_marks, strict=True):
            marks["cut"] = marks["cut"] and answer.degraded != RAN_ON
        return [
            replace(
                answer,
                prompt_cut=answer.prompt_cut + cuts[index],
                degraded=None if marks["error"] else answer.degraded,
                **marks,
            )
            for index, (answer, marks) in enumerate(zip(answers, all_marks, strict=True))
        ]

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return log p(`<response>text</response>` | prompt, trace) in nats, one value per query.

        The trace is the rewriter's greedy one, an approximation of the sum over all traces; a rewriter
        without a trace scores the text alone. Queries without a rewrite (no history) are scored by the base
        model, if there is one; raises `UserError` if that is a black box.
        """
        answers = self.respond(queries, profiles)
        contexts = self.provider.context(queries, profiles)  # those of the answers lack items that do not fit
        prompts, begun, completions, indices = [], [], [], []
        scores = [0.0] * len(queries)
        without_rewrite = []
        for index, (query, answer, text) in enumerate(zip(queries, answers, texts, strict=True)):
            if answer.degraded and self.base is not None:
                without_rewrite.append(index)
                continue
            prompt, _ = self._prompt(query, answer.generic or "", contexts[index])
            prompts.append(prompt)
            begun.append(trace_text(answer.trace) if self.traced else "")
            completions.append(f"<response>{text}</response>" if self.traced else text)
            indices.append(index)
        for index, value in zip(indices, self.model.score(prompts, completions, begun=begun), strict=True):
            scores[index] = value
        if without_rewrite and self.base is not None:
            base = self.base.score(
                [get_task(queries[index].task).prompt(queries[index]) for index in without_rewrite],
                [texts[index] for index in without_rewrite],
            )
            for index, value in zip(without_rewrite, base, strict=True):
                scores[index] = value
        return scores

    def _drafts(
        self, queries: Sequence[Query], profiles: Sequence[Profile]
    ) -> tuple[list[str], list[str], list[int], list[int]]:
        """Return drafts, the completions they were read from, token counts (prompt and answer), and the
        prompt tokens that were cut.
        """
        drafts = [""] * len(queries)
        raw = [""] * len(queries)
        tokens, cuts = [0] * len(queries), [0] * len(queries)
        for task, indices in _by_task(queries):
            if uses_given_text(self.draft, task):
                for index in indices:
                    drafts[index] = raw[index] = queries[index].search_text
                continue
            for index in indices:
                raw[index] = queries[index].draft or ""
            if missing := [index for index in indices if queries[index].draft is None]:
                base = self._base(queries[missing[0]])
                prompts = [task.prompt(queries[index]) for index in missing]
                cap = self.max_draft_tokens or task.max_new_tokens
                written = base.generate(prompts, max_new_tokens=cap)
                for index, prompt, [text] in zip(missing, prompts, written, strict=True):
                    raw[index] = text
                    prompt_tokens = base.count_tokens(prompt)
                    cuts[index] = unread_tokens(prompt_tokens, prompt_limit(base, cap))
                    tokens[index] = prompt_tokens - cuts[index] + base.count_tokens(text)
            for index in indices:
                own = own_texts(task, queries[index], profiles[index].items)
                drafts[index] = extract_answer(raw[index], task, own)
        return drafts, raw, tokens, cuts

    def _rewrites(
        self, queries: Sequence[Query], drafts: Sequence[str], indices: Sequence[int], prompts: Sequence[str]
    ) -> dict[int, tuple[str, str]]:
        """Return the prompt and the completion of each index; those with one limit are generated together."""
        by_limit: dict[int, list[tuple[int, str]]] = {}
        for index, prompt in zip(indices, prompts, strict=True):
            limit = self._limit(get_task(queries[index].task), drafts[index])
            by_limit.setdefault(limit, []).append((index, prompt))
        rewrites = {}
        for limit, asked in by_limit.items():
            written = self.model.generate([prompt for _, prompt in asked], max_new_tokens=limit)
            rewrites.update(
                {index: (prompt, texts[0]) for (index, prompt), texts in zip(asked, written, strict=True)}
            )
        return rewrites

    def _limit(self, task: Task, draft: str) -> int:
        """Return the most tokens of a completion; a trace has no length that follows from the draft."""
        if self.traced or not uses_given_text(self.draft, task):
            return self.max_trajectory_tokens
        steps = -(-LONGEST_REWRITE * self.model.count_tokens(draft) // _STEP) + 1
        return min(self.max_trajectory_tokens, steps * _STEP)

    def _base(self, query: Query) -> LanguageModel:
        if self.base is None:
            raise UserError(
                f"the rewriter was trained on given texts and has no base model, which {query.task} needs",
                hint="name one with --base",
            )
        return self.base

    def _prompt(self, query: Query, draft: str, context: Context) -> tuple[str, Context]:
        """Return the prompt, and the context without the items that did not fit."""
        task = get_task(query.task)
        return prompt_and_context(
            task,
            query,
            draft,
            context,
            count_tokens=self.model.count_tokens,
            max_length=self.max_length,
            window=prompt_limit(self.model, self.max_trajectory_tokens),
            given=uses_given_text(self.draft, task),
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
        unread = unread_tokens(prompt_tokens, prompt_limit(self.model, self.max_trajectory_tokens))
        tokens = base_tokens + prompt_tokens - unread + self.model.count_tokens(written)
        bare = self.model.count_tokens(self._prompt(query, draft, Context())[0])
        context_tokens = max(0, prompt_tokens - bare - unread)
        trajectory = parse_trajectory(written, traced=self.traced)
        task = get_task(query.task)
        ran_on = isinstance(written, Cut) and self._limit(task, draft) < self.max_trajectory_tokens
        if ran_on or trajectory is None or not trajectory.response:
            return Answer(
                draft,
                draft,
                context,
                tokens=tokens,
                context_tokens=context_tokens,
                seconds=seconds,
                degraded=RAN_ON if ran_on else UNREADABLE,
                prompt_cut=unread,
            )
        text = extract_answer(trajectory.response, task, own_texts(task, query, profile.items, draft))
        return Answer(
            text if _without_doubled_end(draft) != draft else _without_doubled_end(text),
            draft,
            context,
            {name: text for name, text in trajectory.trace.items() if text},
            tokens,
            context_tokens,
            seconds,
            prompt_cut=unread,
        )


def _without_doubled_end(text: str) -> str:
    """Return a text without a last paragraph or line, of two words or more, with which the rest ends already.

    Small rewriters sign a short text twice.
    """
    for between in ("\n\n", "\n"):
        rest, _, last = text.rpartition(between)
        words = last.split()
        if len(words) > 1 and re.search(rf"(?:^|[\n,;.!?–—-])\s*{re.escape(last.strip())}\s*$", rest):
            return _without_doubled_end(rest.rstrip())
    return text


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
