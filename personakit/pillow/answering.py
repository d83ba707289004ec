"""Answers with prompts: a tuned model is shown what a selector picks, and says what anyone's selector costs.

The same `Personalizer` serves PILLOW, each of its controls, the model alone (no selector) and the fully tuned
one, so that rows of a table differ in nothing but what is picked.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from personakit.contracts import LanguageModel, Selector
from personakit.models.refusal import refusal_reason
from personakit.pillow.wording import PromptWording
from personakit.records import Answer, Context, Instruction, Pool, Profile, Query

Order = Literal["reversed", "shuffled"]
Picks = tuple[int, ...]

PICKS = "picks"
"""What an answer's trace calls its picks: places in the pool, first pick first, with spaces between."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a query asks, the prompts that may be shown with it, and places in them that may not."""

    instruction: Instruction
    pool: Pool
    excluded: frozenset[int] = frozenset()


class Prompted:
    """A model that is shown at most `m` prompts which `selector` picks (None: it is shown none)."""

    def __init__(
        self,
        model: LanguageModel,
        wording: PromptWording,
        offer: Callable[[Query, Profile], Offer],
        *,
        selector: Selector | None = None,
        m: int = 0,
        max_new_tokens: int,
    ) -> None:
        """Take a model and its wording; `offer` says what a query asks and what may be shown with it."""
        self._model, self._wording, self._offer = model, wording, offer
        self._selector, self._m, self._max_new_tokens = selector, m, max_new_tokens
        self._latest: dict[str, tuple[Offer, Picks]] = {}  # `score` asks for the picks that `respond` made

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return one answer a query, with the prompts it was shown."""
        started = time.perf_counter()
        shown = self._pick(queries, profiles)
        prompts = [self._prompt(offer, picks) for offer, picks in shown]
        texts = self._model.generate(prompts, max_new_tokens=self._max_new_tokens) if prompts else []
        seconds = (time.perf_counter() - started) / max(1, len(queries))
        answers = []
        for (offer, picks), prompt, text in zip(shown, prompts, texts, strict=True):
            tokens = self._model.count_tokens(prompt)
            bare = self._model.count_tokens(self._prompt(offer, ())) if picks else tokens
            answers.append(
                Answer(
                    self._wording.read(offer.instruction, text[0]),
                    context=Context(prompts=tuple(_shown(offer.pool.prompts[place]) for place in picks)),
                    trace={PICKS: " ".join(map(str, picks))} if picks else {},
                    tokens=tokens + self._model.count_tokens(text[0]),
                    context_tokens=tokens - bare,
                    seconds=seconds,
                    refused=refusal_reason(text[0]),
                )
            )
        return answers

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return log p(text | prompts, query) in nats."""
        shown = [self._latest.get(query.id) for query in queries]
        if None in shown:
            shown = [*self._pick(queries, profiles)]
        prompts = [self._prompt(offer, picks) for offer, picks in (each for each in shown if each)]
        return self._model.score(prompts, texts)

    def _pick(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[tuple[Offer, Picks]]:
        offers = [self._offer(query, profile) for query, profile in zip(queries, profiles, strict=True)]
        picked: list[Picks] = [()] * len(offers)
        pools: dict[str, list[int]] = {}
        for place, offer in enumerate(offers):
            pools.setdefault(offer.pool.fingerprint, []).append(place)
        for places in pools.values():
            some = [offers[place] for place in places]
            m = min(self._m, len(some[0].pool))
            if self._selector is None or not m:
                continue
            picks = self._selector.select(
                [each.instruction for each in some],
                some[0].pool,
                m,
                excluded=[each.excluded for each in some],
            )
            for place, each in zip(places, picks, strict=True):
                picked[place] = each
        made = list(zip(offers, picked, strict=True))
        self._latest = {query.id: each for query, each in zip(queries, made, strict=True)}
        return made

    def _prompt(self, offer: Offer, picks: Picks) -> str:
        return self._wording.prompt(offer.instruction, [offer.pool.prompts[place] for place in picks])


class Reordered:
    """The same picks in another order, for what the order is worth."""

    def __init__(self, selector: Selector, order: Order) -> None:
        self._selector, self._order = selector, order

    def select(
        self,
        instructions: Sequence[Instruction],
        pool: Pool,
        m: int,
        *,
        excluded: Sequence[frozenset[int]] | None = None,
    ) -> list[Picks]:
        """Return each instruction's picks (`contracts.Selector`), turned round or shuffled."""
        picks = self._selector.select(instructions, pool, m, excluded=excluded)
        return [self._turned(one, each) for one, each in zip(instructions, picks, strict=True)]

    def _turned(self, instruction: Instruction, picks: Picks) -> Picks:
        if self._order == "reversed":
            return picks[::-1]
        named = f"{instruction.instruction}\0{instruction.input}"
        random = np.random.default_rng(int.from_bytes(hashlib.sha256(named.encode()).digest()[:8], "big"))
        return tuple(map(int, random.permutation(np.array(picks, dtype=np.int64))))


def _shown(prompt: Instruction) -> str:
    asked = f"{prompt.instruction} {prompt.input}".strip()
    return f"{asked} => {prompt.output}"
