"""Rewards of selections: the reference answer's likelihood under the tuned model, or its own answer's score.

All rewards are deterministic (greedy answers) and cached on disk, keyed by model, wording, instruction,
ordered prompts, reference answer and reward.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from personakit.errors import RunError
from personakit.files import cache_folder
from personakit.models.cache import AnswerCache, FingerprintedModel
from personakit.models.local import LocalModel
from personakit.models.refusal import no_answer_reason
from personakit.pillow.encoding import FingerprintedEncoder
from personakit.pillow.wording import PromptWording
from personakit.records import Instruction
from personakit.tasks.scoring import text_metric
from personakit.training.finite import require_finite

LIKELIHOOD, COSINE = "likelihood", "cosine"


@dataclass(frozen=True, slots=True)
class ShownPrompts:
    """An instruction with its selected prompts, in the order of selection."""

    instruction: Instruction
    prompts: tuple[Instruction, ...]


class SelectionReward(Protocol):
    """The reward of selections."""

    def __call__(self, rows: Sequence[ShownPrompts]) -> list[float]:
        """Return one reward per row; higher is better."""
        ...


class TextReward:
    """A weighted sum of cached rewards by name.

    `likelihood` is the geometric mean of the reference answer's token probabilities, in [0, 1] (RetICL's
    "confidence"). `cosine` (of the encoder's vectors) and the metrics of `text_metric` compare the model's
    answer with the reference answer. `hits` and `misses` count cached and computed rewards, `tokens` the
    prompt and completion tokens of the computed ones.
    """

    def __init__(
        self,
        model: LocalModel,
        wording: PromptWording,
        weights: Mapping[str, float],
        *,
        max_new_tokens: int,
        prompt_cost: float = 0.0,
        encoder: FingerprintedEncoder | None = None,
        cache: AnswerCache | None = None,
    ) -> None:
        """`prompt_cost` is subtracted for each selected prompt; `encoder` is only needed for `cosine`.

        The default cache is `rewards/rewards.sqlite` in the cache folder.
        """
        self._model, self._wording, self._encoder = model, wording, encoder
        self._weights = {name: weight for name, weight in weights.items() if weight}
        self._max_new_tokens, self._prompt_cost = max_new_tokens, prompt_cost
        self._cache = AnswerCache(cache_folder() / "rewards" / "rewards.sqlite") if cache is None else cache
        self.hits = 0
        self.misses = 0
        self.tokens = 0

    def __call__(self, rows: Sequence[ShownPrompts]) -> list[float]:
        """Return the weighted sums minus the prompts' cost."""
        totals = [-self._prompt_cost * len(row.prompts) for row in rows]
        for name, weight in self._weights.items():
            for place, value in enumerate(self._of(name, rows)):
                totals[place] += weight * value
        return totals

    def _of(self, name: str, rows: Sequence[ShownPrompts]) -> list[float]:
        keys = [self._key(name, row) for row in rows]
        known = self._cache.get(keys)
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in known}
        self.hits += len(rows) - len(missing)
        self.misses += len(missing)
        if missing:
            values = self._computed(name, list(missing.values()))
            for row, value in zip(missing.values(), values, strict=True):
                require_finite(
                    f"{name} reward",
                    value,
                    place=f"instruction {row.instruction.id}",
                    hint="the tuned model's probabilities are not finite: lower tuning.learning_rate, or "
                    "check the weights of the model",
                )
            new = {key: repr(value) for key, value in zip(missing, values, strict=True)}
            self._cache.put(new)
            known |= new
        return [float(known[key]) for key in keys]

    def _computed(self, name: str, rows: Sequence[ShownPrompts]) -> list[float]:
        golds = [row.instruction.output for row in rows]
        prompts = [self._wording.prompt(row.instruction, row.prompts) for row in rows]
        if name == LIKELIHOOD:
            # `models.scoring` batches rows with common prefixes and computes the prefixes once.
            scores = self._model.score(prompts, golds)
            lengths = [self._model.count_tokens(gold) + 1 for gold in golds]
            self.tokens += sum(map(self._model.count_tokens, prompts)) + sum(lengths)
            return [math.exp(score / length) for score, length in zip(scores, lengths, strict=True)]
        texts = self._model.generate(prompts, max_new_tokens=self._max_new_tokens)
        for reason in filter(None, (no_answer_reason(text[0]) for text in texts)):
            raise RunError(
                f"a reward needs the model's answer: {reason}",
                hint="use a model that does not reason, or the reward likelihood, which needs no answers",
            )
        written = (text[0] for text in texts)
        self.tokens += sum(map(self._model.count_tokens, prompts)) + sum(
            map(self._model.count_tokens, written)
        )
        answers = [
            self._wording.read(row.instruction, text[0]) for row, text in zip(rows, texts, strict=True)
        ]
        if name == COSINE:
            return self._cosines(answers, golds)
        return [text_metric(name, answer, gold) for answer, gold in zip(answers, golds, strict=True)]

    def _cosines(self, answers: Sequence[str], golds: Sequence[str]) -> list[float]:
        import numpy as np

        assert self._encoder is not None
        one, other = self._encoder.encode(answers), self._encoder.encode(golds)
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        return [float(value) for value in (one * other).sum(1) / np.maximum(lengths, 1e-12)]

    def _key(self, name: str, row: ShownPrompts) -> bytes:
        decided: list[Any] = [name]
        if name != LIKELIHOOD:
            decided.append(self._max_new_tokens)
        if name == COSINE and self._encoder is not None:
            decided.append(self._encoder.fingerprint)
        return reward_key(self._model, self._wording, row, decided)


def reward_key(
    model: FingerprintedModel, wording: PromptWording, row: ShownPrompts, reward: Sequence[Any]
) -> bytes:
    """Return the cache key of a reward: a digest of everything that determines it."""
    one = row.instruction
    asked, shown = (one.instruction, one.input), [(p.instruction, p.input, p.output) for p in row.prompts]
    parts = [model.fingerprint, wording.name, asked, shown, one.output, *reward]
    return hashlib.sha256(json.dumps(parts).encode()).digest()
