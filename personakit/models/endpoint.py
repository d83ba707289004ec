"""`EndpointModel`: a black box behind an OpenAI-compatible address, as a `LanguageModel`."""

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
from personakit.models.address import check_address, check_key, shown_address
from personakit.models.refusal import NO_TEXT, REFUSED_CODES, Refusal, read_refusal
from personakit.models.retries import GaveUpError, RetryPolicy, StoppedError, ask_patiently

_DEFAULT_BASE = "https://api.openai.com/v1"
_BAD_REQUEST = frozenset({400, 422})
#: Refusals that would meet any other request too.
_FOR_ALL = frozenset({401, 404, 429})
_REASONS = 3  # of refusals that are named
_SHORT = 10.0  # seconds that a server gets which has been given up on

_log = logging.getLogger(__name__)


class EndpointModel:
    """A chat model behind `/v1/chat/completions`, one request a sample, several in flight.

    Answers are whatever the server gives: `seed` is sent, but a server need not honour it. Wrap it in
    `CachedModel` so that no answer is paid for twice. An option that the server refuses by its name is
    left out from then on, which is said once: OpenAI's reasoning models refuse temperatures other than 1,
    some servers refuse `seed`. Models that refuse `max_tokens` are told `max_completion_tokens` instead.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str = _DEFAULT_BASE,
        key: str | None = None,
        concurrency: int = 8,
        patience: RetryPolicy | None = None,
    ) -> None:
        """Take the model's name at `base_url` (which ends in /v1). The `key` is sent, never shown.

        `concurrency` is the most requests in flight. Raises `UserError` for an address that leads nowhere,
        and for a key that cannot be sent.
        """
        self.name = model
        self.base_url = check_address(base_url)
        self.unanswered = 0
        """Requests that were refused, or answered without a text, since construction."""
        self._key = check_key(key)
        self._concurrency = concurrency
        self._patience = patience or RetryPolicy()
        self._given_up = False
        self._refused_options: set[str] = set()
        self._learning = threading.Lock()

    @classmethod
    def from_environment(cls, model: str, settings: EndpointSettings | None = None) -> EndpointModel:
        """Open `model` at `OPENAI_BASE_URL` (else OpenAI's own) with `OPENAI_API_KEY`."""
        settings = settings or EndpointSettings()
        base_url = os.environ.get("OPENAI_BASE_URL") or _DEFAULT_BASE
        key = os.environ.get("OPENAI_API_KEY") or None
        if not model:
            raise UserError('model "openai:" names no model', hint='say for example "openai:gpt-4.1-mini"')
        if key is None and base_url == _DEFAULT_BASE:
            raise UserError(
                f'model "openai:{model}" needs a key and OPENAI_API_KEY is not set',
                hint="set OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own",
            )
        return cls(
            model,
            base_url=base_url,
            key=key,
            concurrency=settings.requests_at_once,
            patience=RetryPolicy(settings.timeout, settings.attempts, busy_attempts=5 * settings.attempts),
        )

    @property
    def address(self) -> str:
        """The address as it may be shown: without a user name, password or query that stands in it."""
        return shown_address(self.base_url)

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

        Raises `RunError` when the server stays away or refuses (`ServerUnavailableError`); requests
        not yet sent are dropped, those in flight are waited for once. A server that was given up on has one
        short attempt a request from then on, until it answers again.
        """
        return self.generate_and_keep(
            prompts,
            lambda index, sample, text: None,
            samples=samples,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
        )

    def generate_and_keep(
        self,
        prompts: Sequence[str],
        keep: Callable[[int, int, str], None],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """As `generate`, and hand over each answer the moment it is there.

        `keep(prompt's index, sample's number, text)` is called on the thread that received the answer, so
        that a failure or a kill loses none that has come. Where the model refused, or gave no text,
        the answer is a `Refusal` and is not handed over.
        """
        import httpx2

        drawn = samples if temperature > 0 else 1
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        rows = [[""] * drawn for _ in prompts]
        stop = threading.Event()
        silent: list[str] = []
        with httpx2.Client(headers=headers, timeout=self._patience_now().timeout) as client:

            def ask(index: int, sample: int) -> None:
                if stop.is_set():
                    raise StoppedError
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
                        silent.append(text.reason)
                    else:
                        keep(index, sample, text)
                    failed.pop_all()

            pool = ThreadPoolExecutor(self._concurrency)
            try:
                waiting = [
                    pool.submit(ask, index, sample)
                    for index in range(len(prompts))
                    for sample in range(drawn)
                ]
                for future in as_completed(waiting):
                    if not isinstance(future.exception(), StoppedError):  # another failed before it
                        future.result()
            finally:
                stop.set()
                pool.shutdown(cancel_futures=True)
        if silent:
            self.unanswered += len(silent)
            told = (
                'endpoint %s refused %d of %d requests to "%s" (%s): mostly empty answers, which are not kept'
            )
            why = ", ".join(sorted(set(silent))[:_REASONS])
            _log.warning(told, self.address, len(silent), len(prompts) * drawn, self.name, why)
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

    def _post(self, client: Any, body: dict[str, Any], max_new_tokens: int, stop: threading.Event) -> Any:
        try:
            while True:
                sent = self._without_refused(body | {"max_tokens": max_new_tokens})
                send = partial(client.post, f"{self.base_url}/chat/completions", json=sent)
                response = ask_patiently(send, self._patience_now(), stop)
                self._given_up = False
                if response.status_code not in _BAD_REQUEST or not self._refuses_option(response, sent):
                    break
        except GaveUpError as trouble:
            self._given_up = True
            raise ServerUnavailableError(
                f'endpoint {self.address} gave no answer for "{self.name}" {trouble}',
                hint="check the server and OPENAI_BASE_URL; answers so far are kept: start the command "
                "again, with --resume where it has an output folder",
            ) from trouble
        if response.status_code in _BAD_REQUEST and (code := self._code(response)) in REFUSED_CODES:
            return {"choices": [{"message": {"refusal": f"status {response.status_code}, {code}"}}]}
        if response.status_code != 200:
            raise self._refused(response)
        try:
            return response.json()
        except ValueError as error:
            raise RunError(
                f"endpoint {self.address} answered with something that is not JSON",
                hint="check that OPENAI_BASE_URL ends in the path of an OpenAI-compatible API, usually /v1",
            ) from error

    def _patience_now(self) -> RetryPolicy:
        if not self._given_up:
            return self._patience
        return RetryPolicy(min(_SHORT, self._patience.timeout), attempts=1, busy_attempts=1)

    def _without_refused(self, body: dict[str, Any]) -> dict[str, Any]:
        sent = {option: value for option, value in body.items() if option not in self._refused_options}
        if "max_tokens" in self._refused_options:
            sent["max_completion_tokens"] = body["max_tokens"]
        return sent

    def _refuses_option(self, response: Any, sent: dict[str, Any]) -> bool:
        """Whether an option of `sent` was refused that a request can do without; none has it from now on."""
        words = {"max_tokens": "max_completion_tokens", "temperature": "temperature", "seed": "seed"}
        for option, word in words.items():
            if option in sent and re.search(rf"\b{word}\b", response.text):
                with self._learning:
                    if option == word and option not in self._refused_options:
                        told = 'endpoint %s refuses the option "%s" for "%s": it is asked without'
                        _log.warning(told, self.address, option, self.name)
                    self._refused_options.add(option)
                return True
        return False

    def _refused(self, response: Any) -> RunError:
        hints = {
            401: "check OPENAI_API_KEY",
            403: "check that the key may use this model",
            404: "check the model's name and OPENAI_BASE_URL",
            429: "the account's budget is spent: answers so far are kept",
        }
        kind = ServerUnavailableError if response.status_code in _FOR_ALL else RunError
        return kind(
            f'endpoint {self.address} refused "{self.name}" with status {response.status_code}: '
            f"{self._reason(response)}",
            hint=hints.get(response.status_code, "see the server's own message"),
        )

    def _code(self, response: Any) -> str | None:
        try:
            code = response.json()["error"]["code"]
        except (ValueError, KeyError, TypeError):
            return None
        return code if isinstance(code, str) else None

    def _reason(self, response: Any) -> str:
        """The server's own words, in one line; some servers repeat the key they were given."""
        try:
            message = str(response.json()["error"]["message"])
        except (ValueError, KeyError, TypeError):
            message = response.text
        if self._key:
            message = message.replace(self._key, "[key]")
        return " ".join(message.split())[:200]

    def _text(self, document: Any, max_new_tokens: int) -> str:
        """The answer; a `Refusal` where the model refused or gave no text."""
        try:
            choice = document["choices"][0]
            reason = read_refusal(choice)
            content = choice["message"]["content"] if reason is None else choice["message"].get("content")
        except (AttributeError, KeyError, IndexError, TypeError) as error:
            raise RunError(
                f"endpoint {self.address} answered without choices[0].message.content",
                hint="check that the address is an OpenAI-compatible chat API",
            ) from error
        # Half a character can be sent, but not stored.
        text = content.encode("utf-8", "replace").decode() if isinstance(content, str) else ""
        if not text.strip() and choice.get("finish_reason") == "length":
            raise RunError(
                f'model "{self.name}" at {self.address} spent all {max_new_tokens} tokens before it answered',
                hint="raise decoding.max_new_tokens (a teacher's: trajectories.teacher_tokens), or have it "
                "think less",
            )
        return text if text.strip() and reason is None else Refusal(text, reason or NO_TEXT)
