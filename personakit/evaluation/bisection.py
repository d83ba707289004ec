"""Answers many queries in one call, and finds the one whose request fails by bisection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from personakit.errors import RunError, ServerUnavailableError

T = TypeVar("T")

#: Failed requests in a row after which the endpoint counts as dead.
MAX_CONSECUTIVE_FAILURES = 4


class Bisection:
    """Calls a function on a range of queries; where the call fails, on its halves, down to a single query."""

    def __init__(self) -> None:
        self._failures = 0

    def __call__(
        self,
        answer: Callable[[slice], Sequence[T]],
        failed: Callable[[int, RunError], T],
        queries: slice,
        results: list[T],
    ) -> None:
        """Append one result for each place in `queries`, in order.

        `answer` answers a range, `failed` makes the result of a single query that cannot be answered.
        Raises `RunError` where the server is gone, or `MAX_CONSECUTIVE_FAILURES` queries failed in a row;
        `results` then holds those before.
        """
        try:
            results += answer(queries)
            self._failures = 0
        except RunError as error:
            if (
                queries.stop - queries.start > 1
            ):  # what was answered before the failure is in the answer cache
                middle = (queries.start + queries.stop) // 2
                self(answer, failed, slice(queries.start, middle), results)
                self(answer, failed, slice(middle, queries.stop), results)
                return
            self._failures += 1
            if isinstance(error, ServerUnavailableError) or self._failures >= MAX_CONSECUTIVE_FAILURES:
                raise
            results.append(failed(queries.start, error))
