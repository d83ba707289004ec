"""A base model behind an OpenAI-compatible API, called asynchronously, with retries and back-off."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import httpx2

from personakit.models.address import completions_url
from personakit.models.endpoint import environment_address
from personakit.models.proxies import check_client, http_proxy, proxy_for
from personakit.models.refusal import Cut, Refusal
from personakit.models.replies import Reply, error_in, error_message, message_without_key, read_answer
from personakit.models.retries import (
    RETRYABLE_STATUSES,
    Attempts,
    EmptyReplyError,
    RetriesExhaustedError,
    RetryPolicy,
    TryAgainError,
    retry_after,
)
from personakit.serving import BASE_SECONDS
from personakit.serving.base import BaseAnswer, Chat, as_chunk
from personakit.serving.errors import ApiError

T = TypeVar("T")

#: Statuses that say something about the client's request, and are passed on to the client.
_ABOUT_THE_REQUEST = frozenset({400, 413, 422})
#: What the service's operator can do about others.
_HINTS = {401: ": check OPENAI_API_KEY", 404: ": check the model's name (--base) and OPENAI_BASE_URL"}
#: Seconds. Short, because a client waits; a server that does not accept a connection in 5 seconds is down.
_FIRST_DELAY, _LONGEST_DELAY, _CONNECT = 0.25, 4.0, 5.0
_LONGEST_EVENT = 1 << 24  # bytes: events may have images or sound
_BROKEN = "the base model's stream broke off"
#: Errors of a stream that has begun.
_UNREADABLE = (
    aiohttp.ClientError,
    aiohttp.http_exceptions.HttpProcessingError,
    OSError,
    ValueError,
    AttributeError,
    LookupError,
    TypeError,
)
#: Fields of a completion that the service sets itself.
_OURS = frozenset({"id", "object", "created", "model", "choices", "usage", "personakit"})
#: Finish reasons of answers that a server did not complete.
_FAILED = ("none", "error", "load")
_WITHOUT_END = 1_000_000  # attempts: the deadline ends them


class HttpBase:
    """The model `openai:MODEL` at `OPENAI_BASE_URL`. Options and messages are passed on unchanged."""

    def __init__(self, name: str, *, seconds: float = BASE_SECONDS) -> None:
        """A request fails after `seconds`, all attempts and pauses included. Raises `UserError`."""
        self.name = name
        address, self._key = environment_address(name)
        self._url = completions_url(address)
        check_client(self._url)
        self._proxy = http_proxy(self._url)
        self._certificates = httpx2.create_ssl_context(trust_env=self._url.startswith("https:"))
        self._policy = RetryPolicy(
            seconds, _WITHOUT_END, _WITHOUT_END, first_delay=_FIRST_DELAY, longest_delay=_LONGEST_DELAY
        )
        self._seconds = seconds
        self._opened: aiohttp.ClientSession | None = None

    @property
    def _session(self) -> aiohttp.ClientSession:
        """The connections. Made by the first request: they belong to its event loop."""
        if self._opened is None:
            headers = {"Content-Type": "application/json"}
            if self._key and "@" not in urlsplit(self._url).netloc:  # a name in the address comes first
                headers["Authorization"] = f"Bearer {self._key}"
            self._opened = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._certificates),
                cookie_jar=aiohttp.DummyCookieJar(),  # nothing goes from one user's request to the next
                headers=headers,
                timeout=aiohttp.ClientTimeout(sock_connect=_CONNECT, sock_read=self._seconds),
                proxy=self._proxy,
                read_bufsize=_LONGEST_EVENT // 2,
            )
        return self._opened

    async def draft(self, chat: Chat) -> BaseAnswer:
        """Answer a request; raises `ApiError` if the base model gives no answer in time."""
        body = self._body(chat)

        async def ask() -> BaseAnswer:
            async with self._post(body) as response:
                return await self._read(response, body)

        return await self._in_time(ask)

    async def stream(self, chat: Chat) -> AsyncIterator[dict[str, Any]]:
        """Yield the chunks of a streamed answer as they arrive.

        Raises `ApiError` before the first chunk as `draft` does, and later if the connection is lost.
        """
        body = {**self._body(chat), "stream": True}

        async def begin() -> aiohttp.ClientResponse | BaseAnswer:
            response: aiohttp.ClientResponse = await self._post(body)
            if response.status == 200 and response.content_type == "text/event-stream":
                return response
            async with response:
                return await self._read(response, body)

        begun = await self._in_time(begin)
        if isinstance(begun, BaseAnswer):  # the server does not stream
            yield as_chunk(begun)
            return
        ended = False
        try:
            async for line in begun.content:
                name, _, value = line.decode("utf-8", "replace").partition(":")
                if name != "data":
                    continue
                if value.strip().startswith("{"):
                    chunk = json.loads(value)
                    if error := error_in(chunk):
                        raise ApiError(502, f"{_BROKEN}: {self._shown(error_message(error, value))}")
                    choices = chunk.get("choices") or [{}]
                    ended = ended or choices[0].get("finish_reason") is not None
                    yield chunk
                ended = ended or value.strip() == "[DONE]"
        except _UNREADABLE as error:
            if not ended:  # else nothing of the answer is missing
                raise ApiError(502, _BROKEN) from error
        finally:
            begun.close()
        if not ended:
            raise ApiError(502, _BROKEN)

    async def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            await self._opened.close()

    def _post(self, body: dict[str, Any]) -> Any:
        return self._session.post(self._url, data=json.dumps(body).encode(), allow_redirects=False)

    def _body(self, chat: Chat) -> dict[str, Any]:
        return {**chat.options, "model": self.name, "messages": list(chat.messages)}

    async def _in_time(self, send: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `send`, which is retried after failures that may be temporary."""
        attempts = Attempts(self._policy, proxy=proxy_for(self._url))
        clock = asyncio.get_running_loop().time
        end = clock() + self._seconds
        status: int | None = None
        try:
            async with asyncio.timeout_at(end):
                while True:
                    try:
                        return await send()
                    except (aiohttp.ClientError, TryAgainError) as raised:
                        error = raised if isinstance(raised, TryAgainError) else _as_httpx(raised)
                        status = error.status if isinstance(error, TryAgainError) else None
                        delay = attempts.delay_after(error)
                        if clock() + delay >= end:
                            raise self._given_up(attempts.exhausted(error), error) from error
                        await asyncio.sleep(delay)
        except TimeoutError as error:
            message = f"the base model gave no answer within {self._seconds:g} seconds"
            raise ApiError(504, message, upstream=status) from error
        except EmptyReplyError as error:
            raise self._given_up(error, error) from error

    def _given_up(self, reason: Exception, last: Exception) -> ApiError:
        busy = isinstance(last, TryAgainError) and last.busy
        after = (last.delay if isinstance(last, TryAgainError) else None) or 5
        begun = "" if isinstance(reason, RetriesExhaustedError) else ":"  # that is "in 5 attempts (...)"
        return ApiError(
            429 if busy else 503,
            f"the base model gave no answer{begun} {self._shown(str(reason))}",
            headers={"Retry-After": str(math.ceil(after))},
            upstream=last.status if isinstance(last, TryAgainError) else None,
        )

    def _check(self, reply: Reply) -> None:
        """Raise `TryAgainError` or `ApiError` for a reply that is no success."""
        if reply.status in RETRYABLE_STATUSES and not reply.quota_exhausted:
            busy, delay = reply.status == 429, retry_after(reply.headers.get("Retry-After"))
            raise TryAgainError(f"status {reply.status}", busy=busy, delay=delay, status=reply.status)
        if reply.status in _ABOUT_THE_REQUEST:
            raise ApiError(
                400, self._shown(reply.message), code=reply.code, param=reply.param, upstream=reply.status
            )
        if reply.status != 200:
            message = f"the base model's server rejected the request with status {reply.status}"
            hint = _HINTS.get(reply.status, "")
            raise ApiError(502, f"{message}{hint}", upstream=reply.status)

    async def _read(self, response: aiohttp.ClientResponse, body: dict[str, Any]) -> BaseAnswer:
        reply = Reply(response.status, response.headers, await response.text(errors="replace"))
        self._check(reply)
        try:
            return _draft(
                reply.document, int(body.get("max_completion_tokens") or body.get("max_tokens") or 0)
            )
        except (AttributeError, LookupError, TypeError) as error:
            raise ApiError(502, "the base model's server replied with no chat completion") from error

    def _shown(self, message: str) -> str:
        return message_without_key(message, self._key)


def _as_httpx(error: aiohttp.ClientError) -> httpx2.RequestError:
    """Return the error of httpx2 of the same kind, which `models.retries` describes."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return httpx2.ConnectError(str(error))
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return httpx2.ProxyError(str(error))
    if isinstance(error.__cause__, aiohttp.http_exceptions.ContentEncodingError):
        return httpx2.DecodingError(str(error))
    return httpx2.ReadError(str(error))


def _draft(document: Any, max_tokens: int) -> BaseAnswer:
    choice = (document["choices"] or [{"message": {}}])[0]
    finish, text, refused = choice.get("finish_reason"), None, None
    message = {**choice["message"], "role": "assistant"}
    if not message.get("tool_calls"):
        try:
            answer = read_answer(document, max_tokens)
        except EmptyReplyError:
            if str(finish).lower() in _FAILED:  # else the model has ended without a text, as it may
                raise
        else:
            if isinstance(answer, Refusal):
                refused = answer.reason
            else:
                text, finish = str(answer), "length" if isinstance(answer, Cut) else finish
    return BaseAnswer(
        message,
        text,
        str(finish or "stop"),
        document.get("usage") or {},
        refused=refused,
        choice={name: value for name, value in choice.items() if name not in ("index", "message")},
        document={name: value for name, value in document.items() if name not in _OURS},
    )
