"""HTTP requests with retries: how often, with which pauses, and how failures are reported.

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
from typing import TypeVar

T = TypeVar("T")

RETRYABLE_STATUSES = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
TOO_MANY_REQUESTS = 429
_MAX_DELAY = 60.0  # seconds; a longer Retry-After is cut to this


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Timeout of a request in seconds, and the number of attempts.

    `attempts` counts lost connections, timeouts, 5xx responses and replies without an answer;
    `busy_attempts` counts 429 responses. The pause doubles from `first_delay` up to `longest_delay`; a
    Retry-After may be longer.
    """

    timeout: float = 120.0
    attempts: int = 6
    busy_attempts: int = 30
    first_delay: float = 1.0
    longest_delay: float = _MAX_DELAY


class TryAgainError(Exception):
    """A reply that another attempt may change, with the reason, and the server's Retry-After in seconds."""

    def __init__(
        self, reason: str, *, busy: bool = False, delay: float | None = None, status: int | None = None
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.busy = busy
        self.delay = delay
        self.attempts: int | None = None
        """The most attempts of such a request, if fewer than the policy's."""


class EmptyReplyError(TryAgainError):
    """A reply without an answer: if it stays so, only this request has failed, not the server."""

    def __init__(self, reason: str, *, attempts: int | None = None) -> None:
        super().__init__(reason)
        self.attempts = attempts


class RetriesExhaustedError(Exception):
    """All attempts of a `RetryPolicy` failed. The message describes the last failure."""


class RequestCancelledError(Exception):
    """The request was cancelled because another request failed permanently."""


class Attempts:
    """The failed attempts of one request, and how long to wait before the next one."""

    def __init__(self, policy: RetryPolicy, *, proxy: str | None = None) -> None:
        """`proxy` names the proxy in use, for messages."""
        self._policy = policy
        self._proxy = proxy
        self._delay = policy.first_delay
        self._failures = self._busy_responses = 0

    def delay_after(self, error: Exception) -> float:
        """Count a failed attempt (httpx2's error, or a `TryAgainError`); return the seconds to wait.

        Raises `EmptyReplyError` or `RetriesExhaustedError` if it was the last one.
        """
        trouble = self._trouble(error)
        self._busy_responses += trouble.busy
        self._failures += not trouble.busy
        most = min(self._policy.attempts, trouble.attempts or self._policy.attempts)
        if self._failures >= most or self._busy_responses >= self._policy.busy_attempts:
            if isinstance(trouble, EmptyReplyError):
                raise trouble
            raise self.exhausted(error)
        # Jitter, so that concurrent requests are not retried simultaneously. A Retry-After of 0 is ignored,
        # because all attempts would be used up at once.
        delay = min(_MAX_DELAY, (trouble.delay or self._delay) * random.uniform(1, 1.5))
        self._delay = min(self._policy.longest_delay, self._delay * 2)
        return delay

    def exhausted(self, error: Exception) -> RetriesExhaustedError:
        """Return what is raised if no attempt follows the one that failed with `error`."""
        attempts = self._failures + self._busy_responses
        plural = "" if attempts == 1 else "s"
        return RetriesExhaustedError(f"in {attempts} attempt{plural} ({self._trouble(error)})")

    def _trouble(self, error: Exception) -> TryAgainError:
        if isinstance(error, TryAgainError):
            return error
        return TryAgainError(_describe(error, self._policy, self._proxy))


def request_with_retries(
    send: Callable[[], T], policy: RetryPolicy, stop: threading.Event, *, proxy: str | None = None
) -> T:
    """Return the first result of `send()`.

    `send` makes one request (httpx2) and reads its reply; a `TryAgainError` asks for another attempt. `proxy`
    names the proxy in use. Raises the last `EmptyReplyError` or `RetriesExhaustedError` if all attempts fail,
    `RequestCancelledError` once `stop` is set.
    """
    import httpx2

    attempts = Attempts(policy, proxy=proxy)
    while True:
        try:
            return send()
        except (httpx2.RequestError, TryAgainError) as error:
            pause(attempts.delay_after(error), stop)
        if stop.is_set():
            raise RequestCancelledError


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


def _describe(error: Exception, policy: RetryPolicy, proxy: str | None) -> str:
    import httpx2

    through = f" through the proxy {proxy}" if proxy else ""
    if isinstance(error, httpx2.TimeoutException):
        return f"no response within {policy.timeout:g} seconds{through}"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "its certificate is not trusted: SSL_CERT_FILE names the file of trusted certificates"
    if isinstance(error, httpx2.ConnectError | httpx2.ProxyError):
        return f"it cannot be reached{through}"
    if isinstance(error, httpx2.DecodingError):
        return "the compression of its reply is broken"
    return "the connection was lost"
