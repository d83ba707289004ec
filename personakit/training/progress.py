"""Progress of a stage with the remaining time: a bar on a terminal, occasional lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Protocol, TextIO

_SECONDS_BETWEEN_LINES = 10.0


class Progress(Protocol):
    """Receives the progress of stages; use it with `report_stage`."""

    def start(self, title: str, total: int, done: int = 0) -> None:
        """Begin a stage of `total` steps, of which `done` are already complete."""
        ...

    def update(self, done: int, **facts: float) -> None:
        """Report that `done` steps are complete; `facts` (loss, tokens_per_second) are shown next to them."""
        ...

    def finish(self) -> None:
        """End the stage; does nothing if none has begun."""
        ...


class SilentProgress:
    """Shows nothing (`--quiet`, tests)."""

    def start(self, title: str, total: int, done: int = 0) -> None:
        """Do nothing."""

    def update(self, done: int, **facts: float) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


class LineProgress:
    """Prints a line about every ten seconds and one at the end, for logs and pipes."""

    def __init__(self, stream: TextIO | None = None, every: float = _SECONDS_BETWEEN_LINES) -> None:
        """Write to `stream` (by default stderr), at most one line per `every` seconds."""
        self._stream = stream or sys.stderr
        self._every = every
        self._title = ""
        self._total = self._first = self._done = 0
        self._began = self._said = 0.0
        self._facts: dict[str, float] = {}

    def start(self, title: str, total: int, done: int = 0) -> None:
        """Begin a stage."""
        self._title, self._total, self._first, self._done = title, total, done, done
        self._facts = {}
        self._began = self._said = time.monotonic()

    def update(self, done: int, **facts: float) -> None:
        """Write a line if the last one is `every` seconds old."""
        self._done = done
        self._facts |= facts
        if time.monotonic() - self._said >= self._every and done < self._total:
            self._write(f", {_clock(self._left())} left")

    def finish(self) -> None:
        """Write the stage's last line."""
        if self._title:
            self._write(f" in {_clock(time.monotonic() - self._began)}")
            self._title = ""

    def _left(self) -> float:
        made = max(1, self._done - self._first)
        return (time.monotonic() - self._began) / made * (self._total - self._done)

    def _write(self, tail: str) -> None:
        facts = "".join(f", {name} {value:.4g}" for name, value in self._facts.items())
        print(f"{self._title}: {self._done}/{self._total}{facts}{tail}", file=self._stream, flush=True)
        self._said = time.monotonic()


class BarProgress:
    """A progress bar with the remaining time, on stderr."""

    def __init__(self) -> None:
        """Create the bar without drawing it."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
            console=Console(stderr=True),
        )
        self._task: object = None

    def start(self, title: str, total: int, done: int = 0) -> None:
        """Draw the bar."""
        self._bar.start()
        self._task = self._bar.add_task(title, total=total, completed=done, facts="")

    def update(self, done: int, **facts: float) -> None:
        """Update the bar."""
        text = "  ".join(f"{name} {value:.4g}" for name, value in facts.items())
        changed = {"facts": text} if text else {}
        self._bar.update(self._task, completed=done, **changed)  # type: ignore[arg-type]

    def finish(self) -> None:
        """Stop updating the bar."""
        self._bar.stop()


@contextlib.contextmanager
def report_stage(progress: Progress, title: str, total: int, done: int = 0) -> Iterator[Progress]:
    """Start a stage as `Progress.start` does, and finish it whatever happens in the block."""
    progress.start(title, total, done)
    try:
        yield progress
    finally:
        progress.finish()


def choose_progress(*, quiet: bool = False) -> Progress:
    """Return a bar on a terminal, lines elsewhere, and nothing with `quiet`."""
    if quiet:
        return SilentProgress()
    return BarProgress() if sys.stderr.isatty() else LineProgress()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
