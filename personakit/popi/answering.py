"""Base class of POPI's Personalizer and its controls: one prompt per query, answered or scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from personakit.contracts import LanguageModel
from personakit.models.refusal import Marks, answer_marks
from personakit.models.stopwatch import working_time
from personakit.models.windows import prompt_limit, unread_tokens
from personakit.records import Answer, Context, Profile, Query
from personakit.tasks.answers import extract_answer, own_texts
from personakit.tasks.registry import TASKS
from personakit.tasks.signals import Dropped

ANSWER_TOKENS = 256
"""Maximum answer length, in tokens, of queries that belong to no known task."""


@dataclass(frozen=True, slots=True)
class PreparedPrompt:
    """A query's prompt with its context, trace, and the tokens of the calls that produced it."""

    prompt: str
    context: Context = field(default_factory=Context)
    trace: Mapping[str, str] = field(default_factory=dict)
    tokens: int = 0
    degraded: str | None = None
    error: str | None = None
    """Why the context is missing: a failed request."""


@dataclass
class PromptPersonalizer(ABC):
    """A Personalizer that calls `model` once per query. Each prompt contains one user's data."""

    model: LanguageModel
    max_new_tokens: int = field(default=ANSWER_TOKENS, kw_only=True)
    """The limit of answers to queries that belong to no known task."""
    answer_limit: int | None = field(default=None, kw_only=True)
    """The limit of all answers; None: that of the query's task."""

    @abstractmethod
    def prepare(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[PreparedPrompt]:
        """Return each query's prompt."""

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return one answer per query."""
        if not queries:
            return []
        started = working_time()
        prepared = self.prepare(queries, profiles)
        texts = self._generate(queries, [each.prompt for each in prepared])
        seconds = (working_time() - started) / len(queries)
        return [
            replace(self._answer(query, each, _read(query, profile, text), seconds), **_marks(text, each))
            for query, profile, each, text in zip(queries, profiles, prepared, texts, strict=True)
        ]

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return log p(text | prompt) in nats; raises `UserError` if the model is a black box."""
        return self.model.score([each.prompt for each in self.prepare(queries, profiles)], texts)

    def report_context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return answers without texts: the context, trace and tokens of each query's prompt."""
        prepared = self.prepare(queries, profiles)
        return [self._answer(query, each, "", 0.0) for query, each in zip(queries, prepared, strict=True)]

    def _generate(self, queries: Sequence[Query], prompts: Sequence[str]) -> list[str]:
        """Generate greedy answers."""
        lengths = [self._answer_length(query) for query in queries]
        texts = [""] * len(prompts)
        for length in dict.fromkeys(lengths):
            places = [place for place, limit in enumerate(lengths) if limit == length]
            answers = self.model.generate([prompts[place] for place in places], max_new_tokens=length)
            for place, samples in zip(places, answers, strict=True):
                texts[place] = samples[0]
        return texts

    def _answer_length(self, query: Query) -> int:
        if self.answer_limit is not None:
            return self.answer_limit
        return TASKS[query.task].max_new_tokens if query.task in TASKS else self.max_new_tokens

    def _answer(self, query: Query, prepared: PreparedPrompt, text: str, seconds: float) -> Answer:
        count = self.model.count_tokens
        tokens = count(prepared.prompt)
        unread = unread_tokens(tokens, prompt_limit(self.model, self._answer_length(query)))
        return Answer(
            text,
            context=prepared.context,
            trace=prepared.trace,
            tokens=prepared.tokens + tokens - unread + (count(text) if text else 0),
            context_tokens=0
            if prepared.prompt == query.text
            else max(0, tokens - count(query.text) - unread),
            prompt_cut=unread,
            seconds=seconds,
            degraded=prepared.degraded,
            error=prepared.error,
        )


def _marks(text: str, prepared: PreparedPrompt) -> Marks:
    marks = answer_marks(text)
    return marks if marks["error"] else {**marks, "error": prepared.error}


def dropped_trace(dropped: Dropped) -> dict[str, str]:
    """Return the counts of dropped signals as a trace entry; empty if none was dropped."""
    return {"left out": ", ".join(f"{count} {kind}" for kind, count in dropped.items())} if dropped else {}


def _read(query: Query, profile: Profile, text: str) -> str:
    """Return the answer in a model's text; of a query that belongs to no known task, the stripped text."""
    task = TASKS.get(query.task)
    return text.strip() if task is None else extract_answer(text, task, own_texts(task, query, profile.items))
