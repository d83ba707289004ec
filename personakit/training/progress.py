"""How far a stage is and how long it will take: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol, TextIO

_SECONDS_BETWEEN_LINES = 10.0


class Progress(Protocol):
    """Is told of steps; used as a context manager around one stage."""

    def start(self, title: str, total: int, done: int = 0) -> None:
        """Begin a stage of `total` steps of which `done` were made earlier."""
        ...

    def update(self, done: int, **facts: float) -> None:
        """`done` steps are made; `facts` (loss, tokens_per_second) go beside them."""
        ...

    def finish(self) -> None:
        """End the stage; harmless when none has begun."""
        ...


class Silent:
    """Says nothing (`--quiet`, tests)."""

    def start(self, title: str, total: int, done: int = 0) -> None:
        """Do nothing."""

    def update(self, done: int, **facts: float) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


class Lines:
    """One plain line about every ten seconds, and one at the end: for logs and pipes."""

    def __init__(self, stream: TextIO | None = None, every: float = _SECONDS_BETWEEN_LINES) -> None:
        """Write to `stream` (standard error), at most one line in `every` seconds."""
        self._stream = stream or sys.stderr
        self._every = every
        self._title = ""
        self._total = self._first = self._done = 0
        self._began = self._said = 0.0
        self._facts: dict[str, float] = {}

    def start(self, title: str, total: int, done: int = 0) -> None:
        """Remember where the stage begins."""
        self._title, self._total, self._first, self._done = title, total, done, done
        self._facts = {}
        self._began = self._said = time.monotonic()

    def update(self, done: int, **facts: float) -> None:
        """Write a line if the last one is long enough ago."""
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


class Bar:
    """A bar with the time left, on standard error."""

    def __init__(self) -> None:
        """Draw nothing until a stage begins."""
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
        """Move the bar."""
        text = "  ".join(f"{name} {value:.4g}" for name, value in facts.items())
        changed = {"facts": text} if text else {}
        self._bar.update(self._task, completed=done, **changed)  # type: ignore[arg-type]

    def finish(self) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()


class Staged:
    """`with Staged(progress, title, total) as stage:` finishes the stage whatever happens in it."""

    def __init__(self, progress: Progress, title: str, total: int, done: int = 0) -> None:
        """As `Progress.start`."""
        self._progress = progress
        self._arguments = (title, total, done)

    def __enter__(self) -> Progress:
        self._progress.start(*self._arguments)
        return self._progress

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.finish()


def choose_progress(*, quiet: bool = False) -> Progress:
    """Return a bar on a terminal, lines elsewhere, and silence where it is asked for."""
    if quiet:
        return Silent()
    return Bar() if sys.stderr.isatty() else Lines()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
