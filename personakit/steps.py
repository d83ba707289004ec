"""What is being computed now. Long computations open a `step` and report to it; `training.progress` shows it.

A step may contain others: an evaluation's answers, then a model's generations. Reporting costs next to
nothing, so it is done inside the longest loops (each decoding step), however slow the model.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Step:
    """A computation with its progress. May be updated from any thread."""

    def __init__(self, title: str, total: int | None = None, done: float = 0) -> None:
        """Begin now, with `done` of `total` parts complete already. Without a total, only time is shown."""
        self.title, self.total, self.done = title, total, done
        self.tokens = 0
        self.facts: dict[str, float] = {}
        """Shown next to the progress: a loss."""
        self._first, self._began = done, time.monotonic()

    def update(self, done: float, *, tokens: int = 0) -> None:
        """Set the parts that are complete, and count `tokens` more."""
        self.done = done
        self.tokens += tokens

    def advance(self, done: float = 0, *, tokens: int = 0) -> None:
        """Count parts and tokens more."""
        self.done += done
        self.tokens += tokens

    @property
    def seconds(self) -> float:
        """The time since the beginning."""
        return time.monotonic() - self._began

    @property
    def seconds_left(self) -> float | None:
        """The time for the rest at the speed so far; None if it is not known."""
        if self.total is None or self.done <= self._first:
            return None
        return self.seconds / (self.done - self._first) * max(0.0, self.total - self.done)

    def text(self, *, ended: bool = False) -> str:
        """Return the progress in words: `answers: 12/256, 73 tokens/s, 3:20 left`."""
        count = f"{int(self.done)}/{self.total}" if self.total is not None else ""
        parts = [count] if count else []
        parts += [f"{name} {value:.4g}" for name, value in self.facts.items()]
        if self.tokens and self.seconds > 0:
            parts.append(f"{self.tokens / self.seconds:.3g} tokens/s")
        left = self.seconds_left
        if ended:
            return f"{self.title}: {', '.join(parts)} in {clock(self.seconds)}"
        parts.append(f"{clock(self.seconds)} so far" if left is None else f"{clock(left)} left")
        return f"{self.title}: {', '.join(parts)}"


_running: list[Step] = []


def running() -> list[Step]:
    """Return the steps that are running, the outermost first."""
    return list(_running)


@contextlib.contextmanager
def step(title: str, total: int | None = None, done: float = 0) -> Iterator[Step]:
    """Run the block as a step."""
    started = Step(title, total, done)
    begin(started)
    try:
        yield started
    finally:
        end(started)


def begin(started: Step) -> None:
    """Add a step as the innermost one."""
    _running.append(started)


def end(started: Step) -> None:
    """Remove a step; does nothing if it has ended."""
    with contextlib.suppress(ValueError):
        _running.remove(started)


def clock(seconds: float) -> str:
    """Return a time as `1:02:03`, or `2:03` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
