"""Asking a server that may be busy, cut off or dead: what is waited out, for how long, and how it is told.

A server that says 429 is alive, so it gets more time than one that does not answer: `busy_attempts`
against `attempts`. Its own Retry-After is honoured; without one, or with one of 0, the wait doubles from
time to time.
"""

from __future__ import annotations

import datetime
import email.utils
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_TROUBLED = frozenset({408, 409, 500, 502, 503, 504, 529})
_BUSY = 429
_LONGEST_WAIT = 60.0  # seconds; a server that asks for more is asked again after this


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long one request may take (seconds), and how often it is made again.

    `attempts` counts lost connections, time-outs and 5xx, `busy_attempts` answers of 429.
    """

    timeout: float = 120.0
    attempts: int = 6
    busy_attempts: int = 30
    first_wait: float = 1.0


class GaveUpError(Exception):
    """No answer in as many attempts as `RetryPolicy` allows; the message says what the last one lacked."""


class StoppedError(Exception):
    """Another request has failed for good meanwhile: this one is not made again."""


def ask_patiently(send: Callable[[], Any], patience: RetryPolicy, stop: threading.Event) -> Any:
    """Return `send()`'s first response that no waiting would change: an answer, or a refusal.

    `send` makes one request (httpx2). Raises `GaveUpError`, or `StoppedError` once `stop` is set.
    """
    import httpx2

    wait, failed, busy = patience.first_wait, 0, 0
    while True:
        asked: float | None = None
        try:
            response = send()
        except httpx2.TransportError as error:
            failed += 1
            trouble = _in_words(error, patience)
        else:
            if response.status_code == _BUSY and not _out_of_money(response):
                busy += 1
            elif response.status_code in _TROUBLED:
                failed += 1
            else:
                return response
            trouble = f"status {response.status_code}"
            asked = retry_after(response.headers.get("Retry-After"))
        if failed >= patience.attempts or busy >= patience.busy_attempts:
            raise GaveUpError(f"in {failed + busy} attempts ({trouble})")
        # Jitter, so that the requests in flight do not all come back at the same moment. Asked to wait no
        # time at all, it waits as if not asked: the attempts would be gone at once.
        pause(min(_LONGEST_WAIT, (asked or wait) * random.uniform(1, 1.5)), stop)
        if stop.is_set():
            raise StoppedError
        wait = min(_LONGEST_WAIT, wait * 2)


def pause(seconds: float, stop: threading.Event) -> None:
    """Wait, but no longer than until `stop` is set."""
    stop.wait(seconds)


def retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, in either of its forms (RFC 9110, 10.2.3), or None."""
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


def _in_words(error: Exception, patience: RetryPolicy) -> str:
    import httpx2

    if isinstance(error, httpx2.TimeoutException):
        return f"nothing came within {patience.timeout:g} seconds"
    if isinstance(error, httpx2.ConnectError):
        return "it cannot be reached"
    return "the connection was cut"


def _out_of_money(response: Any) -> bool:
    """OpenAI says 429 for a spent budget too, which no waiting mends."""
    return b"insufficient_quota" in response.content
