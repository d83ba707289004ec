"""Asking for many answers at once where one request may spoil it for the others, as an endpoint's does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from personakit.errors import RunError, ServerUnavailableError

T = TypeVar("T")

#: Requests in a row that an endpoint may fail before nothing more is asked.
FAILED_IN_A_ROW = 4


class Asker:
    """Halves what cannot be answered as a whole, and the halves, until what fails stands alone."""

    def __init__(self) -> None:
        self._failed = 0

    def __call__(
        self,
        ask: Callable[[slice], Sequence[T]],
        failed: Callable[[RunError], T],
        some: slice,
        answers: list[T],
    ) -> None:
        """Append an answer for each place of `some`, in order; `failed` makes that of one that fails alone.

        `ask` answers the places of a slice. Raises `RunError` where asking on is no use: nobody answers any
        more, or `FAILED_IN_A_ROW` have failed. The answers until then are in `answers`.
        """
        try:
            answers += ask(some)
            self._failed = 0
        except RunError as error:
            if some.stop - some.start > 1:  # what has been answered is in the answer cache
                middle = (some.start + some.stop) // 2
                self(ask, failed, slice(some.start, middle), answers)
                self(ask, failed, slice(middle, some.stop), answers)
                return
            self._failed += 1
            if isinstance(error, ServerUnavailableError) or self._failed >= FAILED_IN_A_ROW:
                raise
            answers.append(failed(error))
