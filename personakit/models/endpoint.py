"""`EndpointModel`: a black box behind an OpenAI-compatible address, as a `LanguageModel`."""

from __future__ import annotations

import hashlib
import math
import os
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from personakit.errors import RunError, UserError

_DEFAULT_BASE = "https://api.openai.com/v1"
_RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
_LONGEST_WAIT = 60.0  # seconds; a server that asks for more gets this


class EndpointModel:
    """A chat model behind `/v1/chat/completions`, one request a sample, several in flight.

    Answers are whatever the server gives: `seed` is sent, but a server need not honour it. Wrap it in
    `CachedModel` so that no answer is paid for twice.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str = _DEFAULT_BASE,
        key: str | None = None,
        concurrency: int = 8,
        timeout: float = 120.0,
        attempts: int = 6,
        first_wait: float = 1.0,
    ) -> None:
        """Take the model's name at `base_url` (which ends in /v1). The `key` is sent, never shown.

        `timeout` is seconds for one request; after `attempts` of them, waiting `first_wait` seconds
        and then twice as long each time, the endpoint counts as dead.
        """
        if not base_url.startswith(("http://", "https://")):
            raise UserError(
                f'endpoint address "{base_url}" is not a web address, expected http://... or https://...',
                hint="set OPENAI_BASE_URL, for example to http://localhost:8000/v1",
            )
        self.name = model
        self.base_url = base_url.rstrip("/")
        self._key = key
        self._concurrency = concurrency
        self._timeout = timeout
        self._attempts = attempts
        self._first_wait = first_wait

    @classmethod
    def from_environment(cls, model: str) -> EndpointModel:
        """Open `model` at `OPENAI_BASE_URL` (else OpenAI's own) with `OPENAI_API_KEY`."""
        base_url = os.environ.get("OPENAI_BASE_URL") or _DEFAULT_BASE
        key = os.environ.get("OPENAI_API_KEY") or None
        if not model:
            raise UserError('model "openai:" names no model', hint='say for example "openai:gpt-4.1-mini"')
        if key is None and base_url == _DEFAULT_BASE:
            raise UserError(
                f'model "openai:{model}" needs a key and OPENAI_API_KEY is not set',
                hint="set OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own",
            )
        return cls(model, base_url=base_url, key=key)

    @property
    def chunk(self) -> int:
        """Prompts that the answer cache asks for at a time: what a kill or a failure loses at most."""
        return 4 * self._concurrency

    @property
    def fingerprint(self) -> str:
        """Digest of address and model name: all that can be known of a black box."""
        return hashlib.sha256(f"{self.base_url}\0{self.name}".encode()).hexdigest()

    def generate(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """Return `samples` completions per prompt, in input order.

        Raises `RunError` when the server stays away or refuses; requests not yet sent are dropped.
        """
        import httpx2

        drawn = samples if temperature > 0 else 1
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        with httpx2.Client(headers=headers, timeout=self._timeout) as client:

            def ask(prompt: str, sample: int) -> str:
                body = {
                    "model": self.name,
                    "messages": [{"role": "user", "content": prompt}],
                    "max_tokens": max_new_tokens,
                    "temperature": temperature,
                    "seed": seed + sample,
                }
                return self._text(self._post(client, body))

            pool = ThreadPoolExecutor(self._concurrency)
            try:
                waiting = [
                    [pool.submit(ask, prompt, sample) for sample in range(drawn)] for prompt in prompts
                ]
                rows = [[future.result() for future in row] for row in waiting]
            finally:
                pool.shutdown(cancel_futures=True)
        return [row if drawn == samples else row * samples for row in rows]

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Raise `UserError`: chat endpoints do not give the likelihood of a text that is not theirs."""
        raise UserError(
            f'model "openai:{self.name}" is a black box and cannot score given texts',
            hint="use a local model where likelihoods are needed",
        )

    def count_tokens(self, text: str) -> int:
        """Return an *estimate*: a token for every four bytes of UTF-8, the usual rule for English."""
        return math.ceil(len(text.encode("utf-8")) / 4)

    def _post(self, client: Any, body: dict[str, Any]) -> Any:
        import httpx2

        wait, trouble = self._first_wait, ""
        for attempt in range(1, self._attempts + 1):
            asked: float | None = None
            try:
                response = client.post(f"{self.base_url}/chat/completions", json=body)
            except httpx2.TransportError as error:  # refused, cut off, timed out
                trouble = type(error).__name__
            else:
                if response.status_code == 200:
                    return self._document(response)
                trouble = f"status {response.status_code}"
                if response.status_code not in _RETRIED:
                    raise self._refused(response)
                asked = _retry_after(response.headers.get("Retry-After"))
            if attempt < self._attempts:
                # Jitter, so that the requests in flight do not all come back at the same moment.
                time.sleep(min(_LONGEST_WAIT, asked if asked is not None else wait * random.uniform(1, 1.5)))
                wait *= 2
        raise RunError(
            f'endpoint {self.base_url} gave no answer for "{self.name}" in {self._attempts} attempts '
            f"({trouble})",
            hint="check the server and OPENAI_BASE_URL; answers so far are kept: start the command again",
        )

    def _document(self, response: Any) -> Any:
        try:
            return response.json()
        except ValueError as error:
            raise RunError(
                f"endpoint {self.base_url} answered with something that is not JSON",
                hint="check that OPENAI_BASE_URL ends in the path of an OpenAI-compatible API, usually /v1",
            ) from error

    def _refused(self, response: Any) -> RunError:
        hints = {
            401: "check OPENAI_API_KEY",
            403: "check that the key may use this model",
            404: "check the model's name and OPENAI_BASE_URL",
        }
        return RunError(
            f'endpoint {self.base_url} refused "{self.name}" with status {response.status_code}: '
            f"{_reason(response)}",
            hint=hints.get(response.status_code, "see the server's own message"),
        )

    def _text(self, document: Any) -> str:
        try:
            content = document["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise RunError(
                f"endpoint {self.base_url} answered without choices[0].message.content",
                hint="check that the address is an OpenAI-compatible chat API",
            ) from error
        return content if isinstance(content, str) else ""


def _reason(response: Any) -> str:
    """The server's own words, in one line. A key is never part of them: it is only in our request."""
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = response.text
    return " ".join(str(message).split())[:200]


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait, or None; the header's other form, a date, is left to the usual back-off."""
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None
