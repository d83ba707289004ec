"""Logs of the service: one JSON object a line, on stderr, without any text of a user.

Paths are logged as routes, for the path may name a user. Exceptions are logged as type and place, for the
message may quote a text.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
import traceback
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from personakit.serving.errors import error_reply
from personakit.serving.metrics import Metrics

log = logging.getLogger("personakit.serving")


class JsonLines(logging.Formatter):
    """Formats a record as JSON: time, level, message, and the fields in `facts`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        fields = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "event": record.getMessage().partition("\n")[0],  # uvicorn and asyncio log exceptions as messages
            **getattr(record, "facts", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = described(record.exc_info[1])
        return json.dumps(fields)


def log_to_stderr() -> None:
    """Send the logs of the service, of uvicorn and of the event loop to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("personakit", "uvicorn", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)


def described(error: BaseException) -> dict[str, Any]:
    """Return an exception's type and the innermost places of its traceback, without its message."""
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    places = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
    return {"type": type(error).__name__, "places": places}


class RequestLog:
    """ASGI middleware that logs and counts each request, and replies to unexpected exceptions.

    It also replies to requests that are cancelled because the service ends.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        facts: dict[str, Any] = {}
        scope.setdefault("state", {})["facts"] = facts
        status, started = 0, time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except asyncio.CancelledError:  # by the server, which waits for nothing any more
            if not status:
                await error_reply(503, "the service ends, try again later")(scope, receive, watched)
        except Exception as error:  # noqa: BLE001 - logged, and replied to in one sentence
            log.error("exception", extra={"facts": {"error": described(error)}})
            if not status:
                await error_reply(500, "an error in the service; its log says where")(scope, receive, watched)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(seconds)
            facts |= {
                "method": scope["method"],
                "route": route,
                "status": status,
                "seconds": round(seconds, 4),
            }
            log.info("request", extra={"facts": facts})
