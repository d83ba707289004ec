"""`EndpointModel`: a model behind an OpenAI-compatible API as a `LanguageModel`."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from typing import Any
from urllib.parse import urljoin

from personakit.config.endpoint import EndpointSettings
from personakit.errors import RunError, ServerUnavailableError, UserError
from personakit.models.address import completions_url, redacted_url, validate_api_key, validate_url
from personakit.models.conversation import messages_of
from personakit.models.proxies import open_client, proxy_for
from personakit.models.refusal import REFUSED_CODES, NoAnswer, Refusal
from personakit.models.replies import Reply, message_without_key, read_answer
from personakit.models.request_options import RequestOptions
from personakit.models.retries import (
    RETRYABLE_STATUSES,
    TOO_MANY_REQUESTS,
    EmptyReplyError,
    RequestCancelledError,
    RetriesExhaustedError,
    RetryPolicy,
    TryAgainError,
    request_with_retries,
    retry_after,
)
from personakit.steps import step

_DEFAULT_BASE = "https://api.openai.com/v1"
_BAD_REQUEST = frozenset({400, 422})
#: Error statuses that would apply to all other requests, too.
_PERMANENT_STATUSES = frozenset({401, 404, 429})
#: Statuses with which servers reject options, be it by failing on them.
_MAYBE_AN_OPTION = frozenset({*_BAD_REQUEST, 500})
_MAX_REASONS = 3  # number of reasons in a warning
#: Requests without an answer, in a row, after which all others count as lost.
_MAX_NO_ANSWERS = 16
_SHORT_TIMEOUT = 10.0  # timeout in seconds for a server that has failed before

_log = logging.getLogger(__name__)


def environment_address(model: str) -> tuple[str, str | None]:
    """Return the address of `model` (`OPENAI_BASE_URL`, else OpenAI's own) and the key (`OPENAI_API_KEY`).

    Raises `UserError` if a part is missing or cannot be used.
    """
    base_url = os.environ.get("OPENAI_BASE_URL") or _DEFAULT_BASE
    key = os.environ.get("OPENAI_API_KEY") or None
    if not model:
        raise UserError('model "openai:" has no model name', hint='use for example "openai:gpt-4.1-mini"')
    if key is None and base_url == _DEFAULT_BASE:
        raise UserError(
            f'model "openai:{model}" needs an API key, and OPENAI_API_KEY is not set',
            hint="set OPENAI_API_KEY, or OPENAI_BASE_URL for your own server",
        )
    return validate_url(base_url), validate_api_key(key)


class EndpointModel:
    """A chat model behind `/v1/chat/completions`: one request per sample, several concurrently.

    `seed` is sent, but servers need not honour it. Wrap the model in `CachedModel` to avoid repeated
    requests. The model is asked not to reason, and reasoning is removed from its answers. If the server
    rejects an option, it is omitted from then on, with one warning (`request_options`); the first request is
    sent alone, so that an option is rejected once.

    A reply without an answer (empty, or reasoning that does not end) is asked for again; if that does not
    help, the answer is a `NoAnswer`. One that the token limit ended is a `Cut`.
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
        """The number of requests since construction that were refused or gave no answer."""
        self._url = completions_url(self.base_url)
        self._key = validate_api_key(key)
        self._concurrency = concurrency
        self._retry_policy = retry_policy or RetryPolicy()
        self._server_failed = False
        self._options = RequestOptions(model, self.base_url, self.address)
        self._first_request = threading.Lock()
        self.settled = False
        """Whether the server has answered, so that the options that it rejects are known."""
        self._said_busy = False
        self._no_answers_in_row = 0

    @classmethod
    def from_environment(cls, model: str, settings: EndpointSettings | None = None) -> EndpointModel:
        """Open `model` at `OPENAI_BASE_URL` (else OpenAI's own) with `OPENAI_API_KEY`."""
        settings = settings or EndpointSettings()
        base_url, key = environment_address(model)
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
        It is not called for a `Refusal` (the model refused) and a `NoAnswer` (the request failed).
        """
        distinct_samples = samples if temperature > 0 else 1
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        rows = [[""] * distinct_samples for _ in prompts]
        stop = threading.Event()
        unanswered: list[Refusal | NoAnswer] = []
        with (
            step(f"requests to {self.name}", len(prompts) * distinct_samples) as work,
            open_client(self._url, headers=headers, timeout=self._current_policy().timeout) as client,
        ):

            def request_one(index: int, sample: int) -> None:
                with contextlib.ExitStack() as failed:
                    failed.callback(stop.set)
                    text = self._ask(
                        client,
                        prompts[index],
                        stop,
                        max_tokens=max_new_tokens,
                        temperature=temperature,
                        seed=seed + sample,
                    )
                    rows[index][sample] = text
                    if isinstance(text, Refusal | NoAnswer):
                        unanswered.append(text)
                    else:
                        keep(index, sample, text)
                    work.advance(1, tokens=self.count_tokens(text))
                    failed.pop_all()

            pool = ThreadPoolExecutor(1 if self._server_failed else self._concurrency)
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
        self.unanswered += len(unanswered)
        self._warn("refused", [each.reason for each in unanswered if isinstance(each, Refusal)], rows)
        self._warn(
            "gave no answer to", [each.reason for each in unanswered if isinstance(each, NoAnswer)], rows
        )
        return [row if distinct_samples == samples else row * samples for row in rows]

    @property
    def temperature_rejected(self) -> bool:
        """Whether the server rejects the temperature: answers are sampled at its own."""
        return self._options.rejects_temperature

    def score(
        self, prompts: Sequence[str], completions: Sequence[str], *, begun: Sequence[str] | None = None
    ) -> list[float]:
        """Raise `UserError`: chat endpoints return no log-probabilities of given texts."""
        raise UserError(
            f'model "openai:{self.name}" is an endpoint and cannot score texts',
            hint="use a local model for log-probabilities",
        )

    def count_tokens(self, text: str) -> int:
        """Return an *estimate*: one token per four bytes of UTF-8, the usual rule for English."""
        return math.ceil(len(text.encode("utf-8")) / 4)

    def _ask(self, client: Any, prompt: str, stop: threading.Event, **options: Any) -> str:
        """Return the answer to `prompt`; the first request of all is sent alone."""
        if not self.settled:
            with self._first_request:
                if not self.settled:
                    return self._ask_with_retries(client, prompt, stop, options)
        return self._ask_with_retries(client, prompt, stop, options)

    def _ask_with_retries(
        self, client: Any, prompt: str, stop: threading.Event, options: dict[str, Any]
    ) -> str:
        if stop.is_set():
            raise RequestCancelledError
        send = partial(self._attempt, client, prompt, options)
        try:
            text = request_with_retries(send, self._current_policy(), stop, proxy=proxy_for(self._url))
        except EmptyReplyError as trouble:
            return self._no_answer(str(trouble))
        except RetriesExhaustedError as trouble:
            self._server_failed = True
            raise ServerUnavailableError(
                f'endpoint {self.address} gave no answer for "{self.name}" {trouble}',
                hint="check the server and OPENAI_BASE_URL. Answers so far are cached: run the command "
                "again, with --resume if it has an output folder",
            ) from trouble
        self._no_answers_in_row = 0
        return text

    def _no_answer(self, reason: str) -> NoAnswer:
        self._no_answers_in_row += 1
        if self._no_answers_in_row >= _MAX_NO_ANSWERS:
            self._server_failed = True
            raise ServerUnavailableError(
                f'endpoint {self.address} gave no answer to {_MAX_NO_ANSWERS} requests to "{self.name}" in a '
                f"row: {reason}",
                hint="check the model and its settings. Answers so far are cached: run the command again, "
                "with --resume if it has an output folder",
            )
        return NoAnswer(reason)

    def _reply(self, client: Any, body: dict[str, Any]) -> Reply:
        response = client.post(self._url, json=body)
        return Reply(response.status_code, response.headers, response.text)

    def _attempt(self, client: Any, prompt: str, options: dict[str, Any]) -> str:
        """Send one request, again without each option that the server rejects; return the answer."""
        required = {"model": self.name, "messages": messages_of(prompt)}
        while True:
            body = self._options.body(required, **options)
            reply = self._reply(client, body)
            if reply.status not in _BAD_REQUEST or not self._options.learn(reply, body):
                break
        if reply.status in _MAYBE_AN_OPTION and (plain := self._options.without_reasoning(reply, body)):
            second = self._reply(client, plain)
            if second.status == 200:
                self._options.reject_reasoning()
                reply = second
        if reply.status in RETRYABLE_STATUSES and not (
            reply.status == TOO_MANY_REQUESTS and reply.quota_exhausted
        ):
            raise self._try_again(reply)
        self._server_failed = False
        if reply.status in _BAD_REQUEST and reply.code in REFUSED_CODES:
            return Refusal("", f"status {reply.status}, {reply.code}")
        if reply.status != 200:
            raise self._rejection(reply)
        self._options.accept()
        self.settled = True
        if reply.document is None:
            raise RunError(
                f"endpoint {self.address} returned a response that is not JSON",
                hint="check that OPENAI_BASE_URL ends in the path of an OpenAI-compatible API, usually /v1",
            )
        try:
            return read_answer(reply.document, options["max_tokens"])
        except (AttributeError, LookupError, TypeError) as error:
            raise RunError(
                f"endpoint {self.address} returned no choices[0].message.content",
                hint="check that the address is an OpenAI-compatible chat API",
            ) from error

    def _try_again(self, reply: Reply) -> TryAgainError:
        message = self._shown(reply)
        reason = f"status {reply.status}" + (f": {message}" if message else "")
        busy = reply.status == TOO_MANY_REQUESTS
        if busy and not self._said_busy:
            self._said_busy = True
            _log.warning('endpoint %s is busy for "%s" (%s): waiting', self.address, self.name, reason)
        return TryAgainError(reason, busy=busy, delay=retry_after(reply.headers.get("Retry-After")))

    def _warn(self, verb: str, reasons: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        if reasons:
            message = 'endpoint %s %s %d of %d requests to "%s" (%s): not cached'
            shown = ", ".join(sorted(set(reasons))[:_MAX_REASONS])
            _log.warning(message, self.address, verb, len(reasons), sum(map(len, rows)), self.name, shown)

    def _current_policy(self) -> RetryPolicy:
        if not self._server_failed:
            return self._retry_policy
        return RetryPolicy(min(_SHORT_TIMEOUT, self._retry_policy.timeout), attempts=1, busy_attempts=1)

    def _rejection(self, reply: Reply) -> RunError:
        hints = {
            401: "check OPENAI_API_KEY",
            403: "check that the key has access to this model",
            404: "check the model name and OPENAI_BASE_URL, which usually ends in /v1",
            429: "the account's quota is used up: answers so far are cached",
        }
        hint, message = hints.get(reply.status, "see the server's message"), self._shown(reply)
        if 300 <= reply.status < 400:
            target = redacted_url(urljoin(self._url, reply.headers.get("Location", "")))
            message = f"it redirects to {target}"
            hint = f"set OPENAI_BASE_URL to {target.removesuffix('/chat/completions')}"
        permanent = reply.status in _PERMANENT_STATUSES or reply.status < 400
        return (ServerUnavailableError if permanent else RunError)(
            f'endpoint {self.address} rejected "{self.name}" with status {reply.status}: {message}', hint=hint
        )

    def _shown(self, reply: Reply) -> str:
        """Return the server's message without the API key; "" for an empty JSON object."""
        return message_without_key("" if reply.document == {} else reply.message, self._key)
