"""What asking a model would cost, before the first request is made.

A `RequestMeter` stands where the model will stand: the same code asks it, it gives the answers that are in
the cache, counts the rest, and asks nobody. Tokens are an estimate (a black box does not tell its
tokenizer, and chat formats add a few), completions an upper bound. Prices are the user's: there is no
list of them here that could be out of date.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from personakit.errors import UserError
from personakit.models.cache import AnswerCache, answer_keys
from personakit.models.environment import keep_quiet
from personakit.models.model_files import locate
from personakit.models.open import check_model, is_endpoint, open_language_model, resolve_model
from personakit.models.stand_ins import split_name

PRICES = "PERSONAKIT_PRICES"
_FORM = (
    'expected MODEL=INPUT/OUTPUT,..., each price a number for a million tokens, as in "gpt-4.1-mini=0.4/1.6"'
)


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost, in the user's currency."""

    input: float
    output: float


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What one model would be asked for one purpose."""

    model: str
    purpose: str
    requests: int
    """Requests that the cache has no answer to."""
    known: int
    """Answers that are in the cache."""
    prompt_tokens: int
    completion_tokens: int
    """At most: where every answer is as long as it may be."""
    money: float | None
    """At most, by the user's prices; None where there is no price for the model."""


class RequestMeter:
    """A `LanguageModel` that counts what it would be asked. Where the cache has no answer, it gives ""."""

    def __init__(self, name: str, *, tokens: Callable[[str], int] | None = None) -> None:
        """Stand for the model called `name`; `tokens` counts prompts (by default the model's own count).

        Raises `UserError` where there is no such model. Nothing is loaded but a tokenizer.
        """
        self.name = name
        self.count_tokens = token_counter(name)
        self._fingerprint = check_model(name)
        self._tokens = tokens or self.count_tokens
        self._cache = AnswerCache()
        self._known: set[bytes] = set()
        self._asked: dict[bytes, tuple[int, int]] = {}
        self._told: set[bytes] = set()

    def generate(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """Return what the cache has; a request made before is counted once."""
        drawn = samples if temperature > 0 else 1
        keys = [
            answer_keys(
                self._fingerprint or "",
                prompt,
                samples=drawn,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                seed=seed,
            )
            for prompt in prompts
        ]
        known = self._cache.get(key for row in keys for key in row)
        self._known |= known.keys() - self._told
        for prompt, row in zip(prompts, keys, strict=True):
            absent = [key for key in row if key not in known and key not in self._told]
            if absent:
                self._asked |= dict.fromkeys(absent, (self._tokens(prompt), max_new_tokens))
        return [[known.get(key, "") for key in row] * (1 if drawn == samples else samples) for row in keys]

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Raise `TypeError`: a meter weighs nothing."""
        raise TypeError("a meter cannot score")

    def estimate(self, purpose: str) -> CostEstimate:
        """Return what was counted since the last estimate; a request is in one of them only."""
        prompt_tokens = sum(prompt for prompt, _ in self._asked.values())
        completion_tokens = sum(completion for _, completion in self._asked.values())
        price = read_prices().get(self.name.removeprefix("openai:"))
        money = None
        if price is not None:
            money = (prompt_tokens * price.input + completion_tokens * price.output) / 1e6
        asked, known = len(self._asked), len(self._known)
        self._told |= self._asked.keys() | self._known
        self._asked, self._known = {}, set()
        return CostEstimate(self.name, purpose, asked, known, prompt_tokens, completion_tokens, money)


def token_counter(name: str) -> Callable[[str], int]:
    """Return what counts tokens for the model called `name`; a black box counts by its text's length."""
    if is_endpoint(name):
        return open_language_model(name).count_tokens
    from transformers import AutoTokenizer

    keep_quiet()
    stand_in = split_name(name)
    place = locate(resolve_model(stand_in[0] if stand_in else name))
    try:
        tokenizer = AutoTokenizer.from_pretrained(place.source, local_files_only=place.offline)
    except (OSError, ValueError) as error:
        first = str(error).strip().split("\n", 1)[0][:200]
        raise UserError(
            f'model "{place.source}" has no tokenizer that can be loaded: {first}',
            hint="check that it is whole: the tokenizer's files lie beside config.json",
        ) from error
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


def foreign_counter(name: str) -> Callable[[str], int] | None:
    """Return a count for *another* model's prompts by the tokenizer of `name`.

    None for `nano` and for endpoints: nano's vocabulary is so small that it would count twice too much.
    """
    return None if name == "nano" or is_endpoint(name) else token_counter(name)


def read_prices() -> dict[str, Price]:
    """Read `PERSONAKIT_PRICES`; raises `UserError` where it is not of the form MODEL=INPUT/OUTPUT,..."""
    prices = {}
    for entry in filter(None, map(str.strip, os.environ.get(PRICES, "").split(","))):
        model, _, both = entry.rpartition("=")
        try:
            given, taken = (float(part) for part in both.split("/"))
        except ValueError as error:
            raise UserError(f'{PRICES} has "{entry}"', hint=_FORM) from error
        if not model or not (0 <= given < float("inf") and 0 <= taken < float("inf")):
            raise UserError(f'{PRICES} has "{entry}"', hint=_FORM)
        prices[model.removeprefix("openai:")] = Price(given, taken)
    return prices
