"""A base model behind an OpenAI-compatible API, asked asynchronously, with retries and back-off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from personakit.config.endpoint import EndpointSettings
from personakit.errors import UserError
from personakit.models.address import completions_url
from personakit.models.endpoint import environment_address
from personakit.models.proxies import open_async_client, proxy_for
from personakit.models.refusal import Cut, Refusal
from personakit.models.replies import Reply, read_answer
from personakit.models.retries import (
    RETRYABLE_STATUSES,
    Attempts,
    EmptyReplyError,
    RetriesExhaustedError,
    RetryPolicy,
    TryAgainError,
    retry_after,
)
from personakit.serving.base import BaseAnswer, Chat
from personakit.serving.errors import ApiError

T = TypeVar("T")

#: Statuses that say something about the client's request, and are passed on to the client.
_ABOUT_THE_REQUEST = frozenset({400, 413, 422})
_FIRST_DELAY = 0.25  # seconds; a client waits


class HttpBase:
    """The model `openai:MODEL` at `OPENAI_BASE_URL`. Options and messages are passed on unchanged."""

    def __init__(self, name: str, *, settings: EndpointSettings | None = None, seconds: float = 60.0) -> None:
        """A request fails after `seconds`, all attempts and pauses included. Raises `UserError`."""
        import httpx2

        settings = settings or EndpointSettings()
        self.name = name
        address, key = environment_address(name)
        self._url, self._key = completions_url(address), key
        self._policy = RetryPolicy(
            seconds, settings.attempts, busy_attempts=settings.attempts, first_delay=_FIRST_DELAY
        )
        self._seconds = seconds
        self._client = open_async_client(
            self._url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=seconds,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=256),
        )

    async def draft(self, chat: Chat) -> BaseAnswer:
        """Answer a request; raises `ApiError` if the base model gives no answer in time."""
        body = self._body(chat)

        async def ask() -> BaseAnswer:
            return self._read(Reply(await self._client.post(self._url, json=body)), body)

        return await self._in_time(ask)

    async def stream(self, chat: Chat) -> AsyncIterator[dict[str, Any]]:
        """Yield the chunks of a streamed answer as they come.

        Raises `ApiError` before the first chunk as `draft` does, and later if the connection is lost.
        """
        import httpx2

        request = self._client.build_request("POST", self._url, json={**self._body(chat), "stream": True})

        async def begin() -> httpx2.Response:
            response = await self._client.send(request, stream=True)
            if response.status_code != 200:
                await response.aread()
                self._check(Reply(response))
            return response

        response = await self._in_time(begin)
        try:
            async for line in response.aiter_lines():
                name, _, value = line.partition(":")
                if name == "data" and value.strip().startswith("{"):
                    yield json.loads(value)
        except (httpx2.RequestError, ValueError) as error:
            raise ApiError(502, "the base model's stream broke off") from error
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _body(self, chat: Chat) -> dict[str, Any]:
        return {**chat.options, "model": self.name, "messages": list(chat.messages)}

    async def _in_time(self, send: Callable[[], Awaitable[T]]) -> T:
        """Return the first result of `send`, which is called again after a failure that may pass."""
        import httpx2

        attempts = Attempts(self._policy, proxy=proxy_for(self._url))
        try:
            async with asyncio.timeout(self._seconds):
                while True:
                    try:
                        return await send()
                    except (httpx2.RequestError, TryAgainError) as error:
                        await asyncio.sleep(attempts.delay_after(error))
        except TimeoutError as error:
            raise ApiError(504, f"the base model gave no answer within {self._seconds:g} seconds") from error
        except (RetriesExhaustedError, EmptyReplyError) as error:
            raise ApiError(
                503, f"the base model gave no answer: {self._shown(str(error))}", headers={"Retry-After": "5"}
            ) from error

    def _check(self, reply: Reply) -> None:
        """Raise `TryAgainError` or `ApiError` for a reply that is no success."""
        if reply.status in RETRYABLE_STATUSES and not reply.quota_exhausted:
            busy, delay = reply.status == 429, retry_after(reply.headers.get("Retry-After"))
            raise TryAgainError(f"status {reply.status}", busy=busy, delay=delay)
        if reply.status in _ABOUT_THE_REQUEST:
            raise ApiError(400, self._shown(reply.message), code=reply.code, param=reply.param)
        if reply.status != 200:
            raise ApiError(502, f"the base model's server rejected the request with status {reply.status}")

    def _read(self, reply: Reply, body: dict[str, Any]) -> BaseAnswer:
        self._check(reply)
        try:
            return _draft(
                reply.document, int(body.get("max_completion_tokens") or body.get("max_tokens") or 0)
            )
        except (AttributeError, LookupError, TypeError) as error:
            raise ApiError(502, "the base model's server replied with no chat completion") from error

    def _shown(self, message: str) -> str:
        return message.replace(self._key, "[key]") if self._key else message


def _draft(document: Any, max_tokens: int) -> BaseAnswer:
    choice = (document["choices"] or [{"message": {}}])[0]
    usage = document.get("usage") or {}
    if choice["message"].get("tool_calls"):
        finish = str(choice.get("finish_reason") or "tool_calls")
        return BaseAnswer(choice["message"], None, finish, usage)
    answer = read_answer(document, max_tokens)
    message = {**choice["message"], "role": "assistant"}
    if isinstance(answer, Refusal):
        return BaseAnswer(
            message, None, str(choice.get("finish_reason") or "stop"), usage, refused=answer.reason
        )
    finish = "length" if isinstance(answer, Cut) else str(choice.get("finish_reason") or "stop")
    return BaseAnswer(message, str(answer), finish, usage)


def endpoint_name(model: str) -> str:
    """Return the name behind `openai:`; raises `UserError` if there is none."""
    name = model.removeprefix("openai:")
    if not name:
        raise UserError('model "openai:" has no model name', hint='use for example "openai:gpt-4.1-mini"')
    return name
