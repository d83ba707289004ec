"""`Batcher`: runs local models on one thread, several requests at a time.

While one batch runs, requests wait; those that fit together make the next batch. So an idle model answers at
once, and a busy one in large batches.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

MOST_TOGETHER, MOST_WAITING = 16, 256


class BusyError(Exception):
    """Too many requests wait for the local model."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    key: Hashable
    function: Callable[[Any], Sequence[Any]]
    argument: Any
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class Batcher:
    """A thread that calls functions with lists of arguments, first come, first served."""

    def __init__(
        self,
        *,
        most_together: int = MOST_TOGETHER,
        most_waiting: int = MOST_WAITING,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        """At most `most_together` arguments are passed at once; `on_batch` gets the size of each batch."""
        self._most_together, self._most_waiting, self._on_batch = most_together, most_waiting, on_batch
        self._jobs: list[_Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="local models", daemon=True)
        self._thread.start()

    async def run(self, key: Hashable, function: Callable[[list[T]], Sequence[R]], argument: T) -> R:
        """Return the result for `argument` of `function`, called with it and others of the same `key`.

        Cancelled before its batch begins, the call is not made. Raises `BusyError` if too many wait.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        with self._changed:
            if len(self._jobs) >= self._most_waiting:
                raise BusyError
            self._jobs.append(_Job(key, function, argument, future, loop))
            self._changed.notify()
        return await future

    @property
    def alive(self) -> bool:
        """Whether the thread works."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End the thread after the current batch; requests that wait are cancelled."""
        with self._changed:
            self._closed = True
            jobs, self._jobs = self._jobs, []
            self._changed.notify()
        for job in jobs:
            job.loop.call_soon_threadsafe(job.future.cancel)
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            self._on_batch(len(batch))
            self._answer(batch)

    def _next(self) -> list[_Job]:
        """Wait for jobs; return the first and those that go with it. Nothing if the batcher is closed."""
        with self._changed:
            while True:
                self._jobs = [job for job in self._jobs if not job.future.cancelled()]
                if self._jobs or self._closed:
                    break
                self._changed.wait()
            together = [job for job in self._jobs if job.key == self._jobs[0].key][: self._most_together]
            self._jobs = [job for job in self._jobs if job not in together]
            return together

    def _answer(self, batch: list[_Job]) -> None:
        try:
            results: Sequence[Any] = batch[0].function([job.argument for job in batch])
        except Exception as error:  # noqa: BLE001 - passed on to whom it concerns
            if len(batch) > 1:  # one bad request must not fail the others
                for job in batch:
                    self._answer([job])
            else:
                _deliver(batch[0], error, failed=True)
            return
        for job, result in zip(batch, results, strict=True):
            _deliver(job, result)


def _deliver(job: _Job, result: Any, *, failed: bool = False) -> None:
    def deliver() -> None:
        if job.future.done():  # cancelled while the batch ran
            return
        if failed:
            job.future.set_exception(result)
        else:
            job.future.set_result(result)

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        job.loop.call_soon_threadsafe(deliver)
