"""Estimates the cost of model requests before the first request is made.

A `RequestMeter` takes the place of the model: the same code calls it, and it returns cached answers and
counts all other requests without sending them. Token counts are estimates (an endpoint's tokenizer is
unknown, and chat formats add a few tokens); completion tokens are upper bounds. Prices come from the user,
because a built-in list would go out of date.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from personakit.errors import UserError
from personakit.models.cache import AnswerCache, cache_keys
from personakit.models.environment import silence_libraries
from personakit.models.model_files import load_tokenizer, locate
from personakit.models.open import check_model, is_endpoint, open_language_model, resolve_model
from personakit.models.stand_ins import split_name
from personakit.models.tokens import encode_prompts

PRICES = "PERSONAKIT_PRICES"
#: Prompt and template may merge at their edges into other tokens than each alone; an answer has an end.
_AT_EDGES = 4
_FORM = 'expected MODEL=INPUT/OUTPUT,..., with prices per million tokens, for example "gpt-4.1-mini=0.4/1.6"'


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a million tokens, in the user's currency."""

    input: float
    output: float


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """The estimated requests to one model for one purpose."""

    model: str
    purpose: str
    requests: int
    """Requests without a cached answer."""
    known: int
    """Cached answers."""
    prompt_tokens: int
    completion_tokens: int
    """Upper bound: every answer has the maximum length."""
    money: float | None
    """Upper bound at the user's prices, or None if the model has no price."""


class RequestMeter:
    """A `LanguageModel` that counts requests instead of sending them. Uncached answers are ""."""

    def __init__(self, name: str, *, tokens: Callable[[str], int] | None = None) -> None:
        """Stand in for the model `name`. `tokens` counts prompt tokens (default: the model's own count).

        Only a tokenizer is loaded. Raises `UserError` if the model does not exist.
        """
        self.name = name
        self.count_tokens = token_counter(name)
        self._fingerprint = check_model(name)
        self._tokens = tokens or self.count_tokens
        self._cache = AnswerCache()
        self._cached: set[bytes] = set()
        self._requests: dict[bytes, tuple[int, int]] = {}
        self._reported: set[bytes] = set()

    def generate(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """Return cached answers. A repeated request is counted once."""
        distinct_samples = samples if temperature > 0 else 1

        def keys_of(prompt: str, *, rejected: bool) -> list[bytes]:
            return cache_keys(
                self._fingerprint or "",
                prompt,
                samples=distinct_samples,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                seed=seed,
                temperature_rejected=rejected,
            )

        keys = [keys_of(prompt, rejected=False) for prompt in prompts]
        cached = self._cache.get(key for row in keys for key in row)
        # Answers of a server that rejected the temperature are cached under keys of their own.
        others = [keys_of(prompt, rejected=True) for prompt in prompts]
        known = self._cache.get(key for row in others for key in row)
        for row, other in zip(keys, others, strict=True):
            cached |= {key: known[same] for key, same in zip(row, other, strict=True) if same in known}
        self._cached |= cached.keys() - self._reported
        for prompt, row in zip(prompts, keys, strict=True):
            missing = [key for key in row if key not in cached and key not in self._reported]
            if missing:
                self._requests |= dict.fromkeys(missing, (self._tokens(prompt), max_new_tokens))
        return [
            [cached.get(key, "") for key in row] * (1 if distinct_samples == samples else samples)
            for row in keys
        ]

    def score(
        self, prompts: Sequence[str], completions: Sequence[str], *, begun: Sequence[str] | None = None
    ) -> list[float]:
        """Raise `TypeError`: a meter has no model."""
        raise TypeError("a meter cannot score")

    def estimate(self, purpose: str) -> CostEstimate:
        """Return the counts since the last estimate. Each request is in only one of them."""
        prompt_tokens = sum(prompt for prompt, _ in self._requests.values())
        completion_tokens = sum(completion for _, completion in self._requests.values())
        money = money_for(self.name, prompt_tokens, completion_tokens)
        requests, cached = len(self._requests), len(self._cached)
        self._reported |= self._requests.keys() | self._cached
        self._requests, self._cached = {}, set()
        return CostEstimate(self.name, purpose, requests, cached, prompt_tokens, completion_tokens, money)


def money_for(model: str, prompt_tokens: int, completion_tokens: int) -> float | None:
    """Return the price of these tokens by the user's prices; None where there is none for the model."""
    price = read_prices().get(model.removeprefix("openai:"))
    return None if price is None else (prompt_tokens * price.input + completion_tokens * price.output) / 1e6


def token_counter(name: str) -> Callable[[str], int]:
    """Return a token counter for the model `name`. For endpoints it estimates from the text length."""
    if is_endpoint(name):
        return open_language_model(name).count_tokens
    tokenizer = _tokenizer(name)
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


def template_tokens(name: str) -> int:
    """Return how many tokens chat template and special tokens add to a prompt and its answer, at most."""
    return added_tokens(_tokenizer(name))


def added_tokens(tokenizer: Any) -> int:
    """Return how many tokens chat template and special tokens add to a prompt and its answer, at most."""
    text = "a"
    alone = tokenizer(text, add_special_tokens=False)["input_ids"]
    return len(encode_prompts(tokenizer, [text])[0]) - len(alone) + _AT_EDGES


def _tokenizer(name: str) -> Any:
    silence_libraries()
    stand_in = split_name(name)
    files = locate(resolve_model(stand_in[0] if stand_in else name))
    return load_tokenizer(files.source, offline=files.offline)


def approximate_token_counter(name: str) -> Callable[[str], int] | None:
    """Return a token counter for *other* models' prompts, based on the tokenizer of `name`.

    None for `nano` and endpoints: nano's vocabulary is so small that it would give twice the count.
    """
    return None if name == "nano" or is_endpoint(name) else token_counter(name)


def read_prices() -> dict[str, Price]:
    """Read `PERSONAKIT_PRICES`. Raises `UserError` if it does not have the form MODEL=INPUT/OUTPUT,..."""
    prices = {}
    for entry in filter(None, map(str.strip, os.environ.get(PRICES, "").split(","))):
        model, _, prices_text = entry.rpartition("=")
        try:
            input_price, output_price = (float(part) for part in prices_text.split("/"))
        except ValueError as error:
            raise UserError(f'{PRICES} has "{entry}"', hint=_FORM) from error
        if not model or not (0 <= input_price < float("inf") and 0 <= output_price < float("inf")):
            raise UserError(f'{PRICES} has "{entry}"', hint=_FORM)
        prices[model.removeprefix("openai:")] = Price(input_price, output_price)
    return prices
