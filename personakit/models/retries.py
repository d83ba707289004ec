"""HTTP requests with retries: which errors are retried, how often, and how failures are reported.

A server that returns 429 is alive, so it gets more attempts than one that does not answer (`busy_attempts`
and `attempts`). Its Retry-After header is honoured. Without one, or with 0, the wait time doubles with each
attempt.
"""

from __future__ import annotations

import datetime
import email.utils
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_RETRYABLE_STATUSES = frozenset({408, 409, 500, 502, 503, 504, 529})
_TOO_MANY_REQUESTS = 429
_MAX_DELAY = 60.0  # seconds; a longer Retry-After is cut to this


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Timeout of a request in seconds, and the number of attempts.

    `attempts` counts lost connections, timeouts and 5xx responses; `busy_attempts` counts 429 responses.
    """

    timeout: float = 120.0
    attempts: int = 6
    busy_attempts: int = 30
    first_delay: float = 1.0


class RetriesExhaustedError(Exception):
    """All attempts of a `RetryPolicy` failed. The message describes the last failure."""


class RequestCancelledError(Exception):
    """The request was cancelled because another request failed permanently."""


def request_with_retries(send: Callable[[], Any], policy: RetryPolicy, stop: threading.Event) -> Any:
    """Return the first response of `send()` that a retry would not change: a success or a permanent error.

    `send` makes one request (httpx2). Raises `RetriesExhaustedError`, or `RequestCancelledError` once `stop`
    is set.
    """
    import httpx2

    delay, failures, busy_responses = policy.first_delay, 0, 0
    while True:
        retry_delay: float | None = None
        try:
            response = send()
        except httpx2.TransportError as error:
            failures += 1
            reason = _describe(error, policy)
        else:
            if response.status_code == _TOO_MANY_REQUESTS and not _quota_exhausted(response):
                busy_responses += 1
            elif response.status_code in _RETRYABLE_STATUSES:
                failures += 1
            else:
                return response
            reason = f"status {response.status_code}"
            retry_delay = retry_after(response.headers.get("Retry-After"))
        if failures >= policy.attempts or busy_responses >= policy.busy_attempts:
            attempts = failures + busy_responses
            raise RetriesExhaustedError(f"in {attempts} attempt{'' if attempts == 1 else 's'} ({reason})")
        # Jitter, so that concurrent requests are not retried simultaneously. A Retry-After of 0 is ignored,
        # because all attempts would be used up at once.
        pause(min(_MAX_DELAY, (retry_delay or delay) * random.uniform(1, 1.5)), stop)
        if stop.is_set():
            raise RequestCancelledError
        delay = min(_MAX_DELAY, delay * 2)


def pause(seconds: float, stop: threading.Event) -> None:
    """Wait for `seconds`, or until `stop` is set."""
    stop.wait(seconds)


def retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header in either form (RFC 9110, 10.2.3), or None."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        until = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=datetime.UTC)
    return max(0.0, (until - datetime.datetime.now(datetime.UTC)).total_seconds())


def _describe(error: Exception, policy: RetryPolicy) -> str:
    import httpx2

    if isinstance(error, httpx2.TimeoutException):
        return f"no response within {policy.timeout:g} seconds"
    if isinstance(error, httpx2.ConnectError):
        return "it cannot be reached"
    return "the connection was lost"


def _quota_exhausted(response: Any) -> bool:
    """Return whether a 429 response means an exhausted quota (OpenAI), which no retry can fix."""
    return b"insufficient_quota" in response.content
