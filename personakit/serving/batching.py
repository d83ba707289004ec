"""`Batcher`: runs local models on one thread, several requests at a time.

While one batch runs, requests wait; those that fit together make the next batch. So an idle model answers at
once, and a busy one in large batches.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from personakit.serving.logs import described, log

T = TypeVar("T")
R = TypeVar("R")

MOST_TOGETHER, MOST_WAITING = 16, 256
_END_SECONDS = 1.0  # a batch of a long generation is left behind when the process ends


class BusyError(Exception):
    """Too many requests wait for the local model."""


class EndedError(Exception):
    """The thread of the local models has ended."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    key: Hashable
    function: Callable[[Any], Sequence[Any]]
    argument: Any
    future: Future[Any] = field(default_factory=Future)


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

        Cancelled before its batch begins, the call is not made. Raises `BusyError` if too many wait, and
        `EndedError` after `close`.
        """
        job = _Job(key, function, argument)
        with self._changed:
            if self._closed or not self.alive:
                raise EndedError
            if len(self._jobs) >= self._most_waiting:
                self._drop_cancelled()
            if len(self._jobs) >= self._most_waiting:
                raise BusyError
            self._jobs.append(job)
            self._changed.notify()
        result: R = await asyncio.wrap_future(job.future)
        return result

    @property
    def alive(self) -> bool:
        """Whether the thread works."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End the thread after the current batch, for which at most a few seconds are waited.

        Requests that wait are cancelled.
        """
        with self._changed:
            self._closed = True
            jobs, self._jobs = self._jobs, []
            self._changed.notify()
        for job in jobs:
            job.future.cancel()
        self._thread.join(_END_SECONDS)

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            if batch:
                self._answer(batch)

    def _next(self) -> list[_Job] | None:
        """Wait for jobs; return the first and those that go with it. None if the batcher is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if self._closed:
                return None
            self._drop_cancelled()
            together = [job for job in self._jobs if job.key == self._jobs[0].key][: self._most_together]
            self._jobs = [job for job in self._jobs if job not in together]
            return [job for job in together if job.future.set_running_or_notify_cancel()]

    def _drop_cancelled(self) -> None:
        self._jobs = [job for job in self._jobs if not job.future.cancelled()]

    def _answer(self, batch: list[_Job]) -> None:
        try:
            self._on_batch(len(batch))
            results = batch[0].function([job.argument for job in batch])
            answered = list(zip(batch, results, strict=True))
        except Exception as error:  # noqa: BLE001 - set on the request's future
            if len(batch) > 1:  # one bad request must not fail the others
                facts = {"requests": len(batch), "error": described(error)}
                log.warning("batch failed, its requests run one by one", extra={"facts": facts})
                for job in batch:
                    self._answer([job])
            else:
                batch[0].future.set_exception(error)
            return
        for job, result in answered:
            job.future.set_result(result)
