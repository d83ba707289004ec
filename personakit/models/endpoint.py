"""`EndpointModel`: a model behind an OpenAI-compatible API as a `LanguageModel`."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from typing import Any

from personakit.config.endpoint import EndpointSettings
from personakit.errors import RunError, ServerUnavailableError, UserError
from personakit.models.address import redacted_url, validate_api_key, validate_url
from personakit.models.refusal import NO_TEXT, REFUSED_CODES, Refusal, read_refusal
from personakit.models.retries import (
    RequestCancelledError,
    RetriesExhaustedError,
    RetryPolicy,
    request_with_retries,
)
from personakit.steps import step

_DEFAULT_BASE = "https://api.openai.com/v1"
_BAD_REQUEST = frozenset({400, 422})
#: Error statuses that would apply to all other requests, too.
_PERMANENT_STATUSES = frozenset({401, 404, 429})
_MAX_REASONS = 3  # number of refusal reasons in the warning
_SHORT_TIMEOUT = 10.0  # timeout in seconds for a server that has failed before

_log = logging.getLogger(__name__)


class EndpointModel:
    """A chat model behind `/v1/chat/completions`: one request per sample, several concurrently.

    `seed` is sent, but servers need not honour it. Wrap the model in `CachedModel` to avoid repeated
    requests. If the server rejects an option by name, it is omitted from then on, with one warning: OpenAI's
    reasoning models reject temperatures other than 1, some servers reject `seed`. Models that reject
    `max_tokens` get `max_completion_tokens` instead.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str = _DEFAULT_BASE,
        key: str | None = None,
        concurrency: int = 8,
        retry_policy: RetryPolicy | None = None,
    ) -> None:
        """Use the model `model` at `base_url` (which ends in /v1). The `key` is sent but never shown.

        `concurrency` is the maximum number of concurrent requests. Raises `UserError` for an invalid URL or
        key.
        """
        self.name = model
        self.base_url = validate_url(base_url)
        self.unanswered = 0
        """The number of requests since construction that were refused or returned no text."""
        self._key = validate_api_key(key)
        self._concurrency = concurrency
        self._retry_policy = retry_policy or RetryPolicy()
        self._server_failed = False
        self._rejected_options: set[str] = set()
        self._options_lock = threading.Lock()

    @classmethod
    def from_environment(cls, model: str, settings: EndpointSettings | None = None) -> EndpointModel:
        """Open `model` at `OPENAI_BASE_URL` (else OpenAI's own) with `OPENAI_API_KEY`."""
        settings = settings or EndpointSettings()
        base_url = os.environ.get("OPENAI_BASE_URL") or _DEFAULT_BASE
        key = os.environ.get("OPENAI_API_KEY") or None
        if not model:
            raise UserError('model "openai:" has no model name', hint='use for example "openai:gpt-4.1-mini"')
        if key is None and base_url == _DEFAULT_BASE:
            raise UserError(
                f'model "openai:{model}" needs an API key, and OPENAI_API_KEY is not set',
                hint="set OPENAI_API_KEY, or OPENAI_BASE_URL for your own server",
            )
        return cls(
            model,
            base_url=base_url,
            key=key,
            concurrency=settings.requests_at_once,
            retry_policy=RetryPolicy(
                settings.timeout, settings.attempts, busy_attempts=5 * settings.attempts
            ),
        )

    @property
    def address(self) -> str:
        """The URL for display, without user name, password and query."""
        return redacted_url(self.base_url)

    @property
    def fingerprint(self) -> str:
        """Hash of address and model name, all that is known of an endpoint."""
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

        Raises `RunError` if the server fails or rejects a request, `ServerUnavailableError` if all requests
        would fail. Unsent requests are then cancelled, and running ones awaited once. After a failure, each
        request gets one short attempt until the server answers again.
        """
        return self.generate_streaming(
            prompts,
            lambda index, sample, text: None,
            samples=samples,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
        )

    def generate_streaming(
        self,
        prompts: Sequence[str],
        keep: Callable[[int, int, str], None],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """Like `generate`, and call `keep(prompt index, sample number, text)` as soon as an answer arrives.

        `keep` runs on the thread that received the answer, so that an interruption loses no received answer.
        If the model refuses or returns no text, the answer is a `Refusal`, and `keep` is not called.
        """
        import httpx2

        distinct_samples = samples if temperature > 0 else 1
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        rows = [[""] * distinct_samples for _ in prompts]
        stop = threading.Event()
        refusal_reasons: list[str] = []
        with (
            step(f"requests to {self.name}", len(prompts) * distinct_samples) as work,
            httpx2.Client(headers=headers, timeout=self._current_policy().timeout) as client,
        ):

            def request_one(index: int, sample: int) -> None:
                if stop.is_set():
                    raise RequestCancelledError
                body = {
                    "model": self.name,
                    "messages": [{"role": "user", "content": prompts[index]}],
                    "temperature": temperature,
                    "seed": seed + sample,
                }
                with contextlib.ExitStack() as failed:
                    failed.callback(stop.set)
                    text = self._text(self._post(client, body, max_new_tokens, stop), max_new_tokens)
                    rows[index][sample] = text
                    if isinstance(text, Refusal):
                        refusal_reasons.append(text.reason)
                    else:
                        keep(index, sample, text)
                    work.advance(1, tokens=self.count_tokens(text))
                    failed.pop_all()

            pool = ThreadPoolExecutor(self._concurrency)
            try:
                waiting = [
                    pool.submit(request_one, index, sample)
                    for index in range(len(prompts))
                    for sample in range(distinct_samples)
                ]
                for future in as_completed(waiting):
                    if not isinstance(
                        future.exception(), RequestCancelledError
                    ):  # another request failed first
                        future.result()
            finally:
                stop.set()
                pool.shutdown(cancel_futures=True)
        if refusal_reasons:
            self.unanswered += len(refusal_reasons)
            message = 'endpoint %s refused %d of %d requests to "%s" (%s): their answers are not cached'
            reasons = ", ".join(sorted(set(refusal_reasons))[:_MAX_REASONS])
            _log.warning(
                message,
                self.address,
                len(refusal_reasons),
                len(prompts) * distinct_samples,
                self.name,
                reasons,
            )
        return [row if distinct_samples == samples else row * samples for row in rows]

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Raise `UserError`: chat endpoints return no log-probabilities of given texts."""
        raise UserError(
            f'model "openai:{self.name}" is an endpoint and cannot score texts',
            hint="use a local model for log-probabilities",
        )

    def count_tokens(self, text: str) -> int:
        """Return an *estimate*: one token per four bytes of UTF-8, the usual rule for English."""
        return math.ceil(len(text.encode("utf-8")) / 4)

    def _post(self, client: Any, body: dict[str, Any], max_new_tokens: int, stop: threading.Event) -> Any:
        try:
            while True:
                sent = self._without_rejected(body | {"max_tokens": max_new_tokens})
                send = partial(client.post, f"{self.base_url}/chat/completions", json=sent)
                response = request_with_retries(send, self._current_policy(), stop)
                self._server_failed = False
                if response.status_code not in _BAD_REQUEST or not self._drops_rejected_option(
                    response, sent
                ):
                    break
        except RetriesExhaustedError as trouble:
            self._server_failed = True
            raise ServerUnavailableError(
                f'endpoint {self.address} gave no answer for "{self.name}" {trouble}',
                hint="check the server and OPENAI_BASE_URL. Answers so far are cached: run the command "
                "again, with --resume if it has an output folder",
            ) from trouble
        if response.status_code in _BAD_REQUEST and (code := self._code(response)) in REFUSED_CODES:
            return {"choices": [{"message": {"refusal": f"status {response.status_code}, {code}"}}]}
        if response.status_code != 200:
            raise self._rejection(response)
        try:
            return response.json()
        except ValueError as error:
            raise RunError(
                f"endpoint {self.address} returned a response that is not JSON",
                hint="check that OPENAI_BASE_URL ends in the path of an OpenAI-compatible API, usually /v1",
            ) from error

    def _current_policy(self) -> RetryPolicy:
        if not self._server_failed:
            return self._retry_policy
        return RetryPolicy(min(_SHORT_TIMEOUT, self._retry_policy.timeout), attempts=1, busy_attempts=1)

    def _without_rejected(self, body: dict[str, Any]) -> dict[str, Any]:
        sent = {option: value for option, value in body.items() if option not in self._rejected_options}
        if "max_tokens" in self._rejected_options:
            sent["max_completion_tokens"] = body["max_tokens"]
        return sent

    def _drops_rejected_option(self, response: Any, sent: dict[str, Any]) -> bool:
        """Return whether the server rejected an optional option of `sent`; it is omitted from then on."""
        option_names = {"max_tokens": "max_completion_tokens", "temperature": "temperature", "seed": "seed"}
        for option, word in option_names.items():
            if option in sent and re.search(rf"\b{word}\b", response.text):
                with self._options_lock:
                    if option == word and option not in self._rejected_options:
                        message = 'endpoint %s rejects the option "%s" for "%s": continuing without it'
                        _log.warning(message, self.address, option, self.name)
                    self._rejected_options.add(option)
                return True
        return False

    def _rejection(self, response: Any) -> RunError:
        hints = {
            401: "check OPENAI_API_KEY",
            403: "check that the key has access to this model",
            404: "check the model name and OPENAI_BASE_URL",
            429: "the account's quota is used up: answers so far are cached",
        }
        kind = ServerUnavailableError if response.status_code in _PERMANENT_STATUSES else RunError
        return kind(
            f'endpoint {self.address} rejected "{self.name}" with status {response.status_code}: '
            f"{self._reason(response)}",
            hint=hints.get(response.status_code, "see the server's message"),
        )

    def _code(self, response: Any) -> str | None:
        try:
            code = response.json()["error"]["code"]
        except (ValueError, KeyError, TypeError):
            return None
        return code if isinstance(code, str) else None

    def _reason(self, response: Any) -> str:
        """Return the server's message on one line, without the API key."""
        try:
            message = str(response.json()["error"]["message"])
        except (ValueError, KeyError, TypeError):
            message = response.text
        if self._key:
            message = message.replace(self._key, "[key]")
        return " ".join(message.split())[:200]

    def _text(self, document: Any, max_new_tokens: int) -> str:
        """Return the answer, or a `Refusal` if the model refused or returned no text."""
        try:
            choice = document["choices"][0]
            reason = read_refusal(choice)
            content = choice["message"]["content"] if reason is None else choice["message"].get("content")
        except (AttributeError, KeyError, IndexError, TypeError) as error:
            raise RunError(
                f"endpoint {self.address} returned no choices[0].message.content",
                hint="check that the address is an OpenAI-compatible chat API",
            ) from error
        # Unpaired surrogates can be sent but not stored.
        text = content.encode("utf-8", "replace").decode() if isinstance(content, str) else ""
        if not text.strip() and choice.get("finish_reason") == "length":
            raise RunError(
                f'model "{self.name}" at {self.address} used all {max_new_tokens} tokens before the answer',
                hint="raise decoding.max_new_tokens (for a teacher: trajectories.teacher_tokens), or reduce "
                "its reasoning effort",
            )
        return text if text.strip() and reason is None else Refusal(text, reason or NO_TEXT)
