"""The Personalizer of PILLOW and its controls: a model whose prompt contains selected prompts.

It also serves the model alone (no selector) and the fully fine-tuned model, so that the rows of a table
differ only in the selected prompts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from personakit.contracts import LanguageModel, Selector
from personakit.models.refusal import answer_marks
from personakit.models.stopwatch import working_time
from personakit.models.windows import prompt_limit, unread_tokens
from personakit.pillow.wording import PromptWording
from personakit.records import Answer, Context, Instruction, Pool, Profile, Query

Order = Literal["reversed", "shuffled"]
Selection = tuple[int, ...]

SELECTION = "picks"
"""Trace entry with the selection: pool indices in the order of selection, separated by spaces."""


@dataclass(frozen=True, slots=True)
class SelectionInput:
    """A query's instruction, its pool of prompts, and the indices in the pool that must not be selected."""

    instruction: Instruction
    pool: Pool
    excluded: frozenset[int] = frozenset()


class PromptedPersonalizer:
    """Answers with at most `m` prompts selected by `selector` (None: without prompts)."""

    def __init__(
        self,
        model: LanguageModel,
        wording: PromptWording,
        selection_input: Callable[[Query, Profile], SelectionInput],
        *,
        selector: Selector | None = None,
        m: int = 0,
        max_new_tokens: int,
    ) -> None:
        """`selection_input` returns the instruction and pool of a query, `wording` the model's prompt."""
        self._model, self._wording, self._selection_input = model, wording, selection_input
        self._selector, self._m, self._max_new_tokens = selector, m, max_new_tokens
        # `score` reuses the selections of `respond`.
        self._latest: dict[str, tuple[SelectionInput, Selection]] = {}

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return one answer per query, with the selected prompts in its context."""
        started = working_time()
        shown = self._select(queries, profiles)
        prompts = [self._prompt(entry, selection) for entry, selection in shown]
        texts = self._model.generate(prompts, max_new_tokens=self._max_new_tokens) if prompts else []
        seconds = (working_time() - started) / max(1, len(queries))
        answers = []
        for (entry, selection), prompt, text in zip(shown, prompts, texts, strict=True):
            tokens = self._model.count_tokens(prompt)
            bare = self._model.count_tokens(self._prompt(entry, ())) if selection else tokens
            unread = unread_tokens(tokens, prompt_limit(self._model, self._max_new_tokens))
            answers.append(
                Answer(
                    self._wording.read(entry.instruction, text[0]),
                    context=Context(prompts=tuple(_shown(entry.pool.prompts[place]) for place in selection)),
                    trace={SELECTION: " ".join(map(str, selection))} if selection else {},
                    tokens=tokens - unread + self._model.count_tokens(text[0]),
                    context_tokens=max(0, tokens - bare - unread),
                    prompt_cut=unread,
                    seconds=seconds,
                    **answer_marks(text[0]),
                )
            )
        return answers

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return log p(text | prompts, query) in nats, one value per query."""
        shown = [self._latest.get(query.id) for query in queries]
        if None in shown:
            shown = [*self._select(queries, profiles)]
        prompts = [self._prompt(entry, selection) for entry, selection in (each for each in shown if each)]
        return self._model.score(prompts, texts)

    def _select(
        self, queries: Sequence[Query], profiles: Sequence[Profile]
    ) -> list[tuple[SelectionInput, Selection]]:
        inputs = [
            self._selection_input(query, profile) for query, profile in zip(queries, profiles, strict=True)
        ]
        selected: list[Selection] = [()] * len(inputs)
        pools: dict[str, list[int]] = {}
        for place, entry in enumerate(inputs):
            pools.setdefault(entry.pool.fingerprint, []).append(place)
        for places in pools.values():
            some = [inputs[place] for place in places]
            m = min(self._m, len(some[0].pool))
            if self._selector is None or not m:
                continue
            selections = self._selector.select(
                [each.instruction for each in some],
                some[0].pool,
                m,
                excluded=[each.excluded for each in some],
            )
            for place, each in zip(places, selections, strict=True):
                selected[place] = each
        made = [
            (entry, self._that_fit(entry, selection))
            for entry, selection in zip(inputs, selected, strict=True)
        ]
        self._latest = {query.id: each for query, each in zip(queries, made, strict=True)}
        return made

    def _that_fit(self, entry: SelectionInput, selection: Selection) -> Selection:
        """Return the selection without the last prompts that the model's context window has no room for."""
        limit = prompt_limit(self._model, self._max_new_tokens)
        while (
            limit is not None
            and selection
            and self._model.count_tokens(self._prompt(entry, selection)) > limit
        ):
            selection = selection[:-1]
        return selection

    def _prompt(self, entry: SelectionInput, selection: Selection) -> str:
        return self._wording.prompt(entry.instruction, [entry.pool.prompts[place] for place in selection])


class ReorderedSelector:
    """A selector that reorders another's selections, to measure the effect of the order."""

    def __init__(self, selector: Selector, order: Order) -> None:
        self._selector, self._order = selector, order

    def select(
        self,
        instructions: Sequence[Instruction],
        pool: Pool,
        m: int,
        *,
        excluded: Sequence[frozenset[int]] | None = None,
    ) -> list[Selection]:
        """Return each instruction's selection (`contracts.Selector`), reversed or shuffled."""
        selections = self._selector.select(instructions, pool, m, excluded=excluded)
        return [self._reordered(one, each) for one, each in zip(instructions, selections, strict=True)]

    def _reordered(self, instruction: Instruction, selection: Selection) -> Selection:
        if self._order == "reversed":
            return selection[::-1]
        named = f"{instruction.instruction}\0{instruction.input}"
        random = np.random.default_rng(int.from_bytes(hashlib.sha256(named.encode()).digest()[:8], "big"))
        return tuple(map(int, random.permutation(np.array(selection, dtype=np.int64))))


def _shown(prompt: Instruction) -> str:
    asked = f"{prompt.instruction} {prompt.input}".strip()
    return f"{asked} => {prompt.output}"
