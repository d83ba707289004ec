"""What POPI's Personalizer and its controls have in common: a prompt a query, answered or scored."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from personakit.contracts import LanguageModel
from personakit.models.refusal import refusal_reason
from personakit.records import Answer, Context, Profile, Query
from personakit.tasks.registry import TASKS
from personakit.tasks.signals import Dropped

ANSWER_TOKENS = 256
"""The longest answer to a request of no known task."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prompt, what it tells of the user, and what it took to make it (tokens of other calls)."""

    prompt: str
    context: Context = field(default_factory=Context)
    trace: Mapping[str, str] = field(default_factory=dict)
    tokens: int = 0
    degraded: str | None = None


@dataclass
class FromPrompts(ABC):
    """A Personalizer that asks `model` once for an answer. Each row of a batch is one user's prompt."""

    model: LanguageModel
    max_new_tokens: int = field(default=ANSWER_TOKENS, kw_only=True)

    @abstractmethod
    def prepare(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Prepared]:
        """Return each query's prompt."""

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return one answer a query."""
        if not queries:
            return []
        started = time.perf_counter()
        prepared = self.prepare(queries, profiles)
        texts = _generate(self.model, queries, [each.prompt for each in prepared], self.max_new_tokens)
        seconds = (time.perf_counter() - started) / len(queries)
        return [
            self._answer(query, each, _read(query, text), seconds, refused=refusal_reason(text))
            for query, each, text in zip(queries, prepared, texts, strict=True)
        ]

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return log p(text | prompt) in nats; raises `UserError` where the model is a black box."""
        return self.model.score([each.prompt for each in self.prepare(queries, profiles)], texts)

    def told(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return what the model is told for each query, and what that takes, without an answer."""
        prepared = self.prepare(queries, profiles)
        return [self._answer(query, each, "", 0.0) for query, each in zip(queries, prepared, strict=True)]

    def _answer(
        self, query: Query, prepared: Prepared, text: str, seconds: float, *, refused: str | None = None
    ) -> Answer:
        count = self.model.count_tokens
        tokens = count(prepared.prompt)
        return Answer(
            text,
            context=prepared.context,
            trace=prepared.trace,
            tokens=prepared.tokens + tokens + (count(text) if text else 0),
            context_tokens=0 if prepared.prompt == query.text else max(0, tokens - count(query.text)),
            seconds=seconds,
            degraded=prepared.degraded,
            refused=refused,
        )


def left_out(dropped: Dropped) -> dict[str, str]:
    """Return signals that did not fit as a line of a trace; nothing where all did."""
    return {"left out": ", ".join(f"{count} {kind}" for kind, count in dropped.items())} if dropped else {}


def _generate(
    model: LanguageModel, queries: Sequence[Query], prompts: Sequence[str], longest: int
) -> list[str]:
    """Answer greedily; a task's answers have their own length."""
    lengths = [TASKS[query.task].max_new_tokens if query.task in TASKS else longest for query in queries]
    texts = [""] * len(prompts)
    for length in dict.fromkeys(lengths):
        places = [place for place, its_length in enumerate(lengths) if its_length == length]
        answers = model.generate([prompts[place] for place in places], max_new_tokens=length)
        for place, samples in zip(places, answers, strict=True):
            texts[place] = samples[0]
    return texts


def _read(query: Query, text: str) -> str:
    """Take the answer out of a model's text; one that cannot be read stays as it is."""
    parsed = TASKS[query.task].parse(text) if query.task in TASKS else None
    return text.strip() if parsed is None else parsed
