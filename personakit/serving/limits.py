"""Limits of keys (requests a minute and at once, per process), of a body's size, and of the host's name."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from personakit.models.proxies import is_loopback
from personakit.serving.errors import ApiError, error_reply
from personakit.serving.store import KeyLimits

_MINUTE = 60.0


class Limiter:
    """Counts the requests of each key. Used on one thread, the event loop's."""

    def __init__(self, default: KeyLimits) -> None:
        """`default` applies where a key has no limit of its own."""
        self._default = default
        self._tokens: dict[int | None, tuple[float, float]] = {}
        self._now: dict[int | None, int] = {}

    @contextmanager
    def request(self, key: int | None, own: KeyLimits) -> Iterator[None]:
        """Count a request while the block runs; raises `ApiError` with status 429 above a limit."""
        rate = own.requests_per_minute or self._default.requests_per_minute
        most = own.concurrent_requests or self._default.concurrent_requests
        if most is not None and self._now.get(key, 0) >= most:
            raise _too_many(f"this key has {most} requests at once, its limit", 1.0)
        if rate is not None:
            self._take(key, rate)
        self._now[key] = self._now.get(key, 0) + 1
        try:
            yield
        finally:
            self._now[key] -= 1

    def _take(self, key: int | None, rate: int) -> None:
        """Take a token of the key's bucket, which holds and regains `rate` a minute."""
        now = time.monotonic()
        tokens, since = self._tokens.get(key, (float(rate), now))
        tokens = min(float(rate), tokens + (now - since) * rate / _MINUTE)
        if tokens < 1:
            self._tokens[key] = tokens, now
            raise _too_many(
                f"this key has {rate} requests a minute, its limit", (1 - tokens) * _MINUTE / rate
            )
        self._tokens[key] = tokens - 1, now


class BodyLimit:
    """ASGI middleware that refuses bodies of more than `most` bytes, whether they say so or not."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on while its body is small enough."""
        declared = dict(scope.get("headers", ())).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self.most:
            await error_reply(413, self._message)(scope, receive, send)
            return
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.most:
                raise HTTPException(413, self._message)
            return message

        await self.app(scope, counted, send)

    @property
    def _message(self) -> str:
        return f"the body has more than {self.most} bytes, the limit"


class OwnNames:
    """ASGI middleware that refuses names of other machines while `needed`.

    A page of another site can reach a service on loopback under a name of that site.
    """

    def __init__(self, app: ASGIApp, needed: Callable[[], Awaitable[bool]]) -> None:
        self.app, self.needed = app, needed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if its header `Host` names this machine."""
        host = dict(scope.get("headers", ())).get(b"host", b"").decode("latin-1")
        if scope["type"] != "http" or _is_own(host) or not await self.needed():
            await self.app(scope, receive, send)
            return
        message = (
            "the header Host names another machine, expected localhost or 127.0.0.1 while no key is needed; "
            "make a key to serve other names: personakit users create-key"
        )
        await error_reply(400, message, code="invalid_host")(scope, receive, send)


def _is_own(host: str) -> bool:
    try:
        return is_loopback(f"http://{host}")
    except ValueError:  # not the form of a host
        return False


def _too_many(message: str, seconds: float) -> ApiError:
    headers = {"Retry-After": str(max(1, round(seconds)))}
    return ApiError(429, message, code="rate_limit_exceeded", headers=headers)
