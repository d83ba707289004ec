"""Shows the progress of stages, and of the steps inside (`steps.py`): a bar on a terminal, else lines.

Every long computation shows a line within ten seconds: on each report, and from a thread where a single call
takes longer.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Protocol, TextIO

from personakit.steps import Step, begin, end, running

#: Less than ten, so that there is a line every ten seconds.
SECONDS_BETWEEN_LINES = 9.0


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
    """Prints a line at the latest every ten seconds and one at the end, for logs and pipes."""

    def __init__(self, stream: TextIO | None = None, every: float | None = None) -> None:
        """Write to `stream` (by default stderr), a line per `every` seconds."""
        self._stream, self._every = stream, every
        self._step: Step | None = None
        self._signs = contextlib.ExitStack()

    def start(self, title: str, total: int, done: int = 0) -> None:
        """Begin a stage."""
        self._step = Step(title, total, done)
        begin(self._step)
        self._signs.enter_context(life_signs(stream=self._stream, every=self._every))

    def update(self, done: int, **facts: float) -> None:
        """Set what is shown."""
        if self._step is not None:
            self._step.update(done)
            self._step.facts |= facts
            _say_if_due()

    def finish(self) -> None:
        """Write the stage's last line."""
        if self._step is not None:
            end(self._step)
            _say(self._step.text(ended=True))
            self._step = None
        self._signs.close()


class BarProgress:
    """A progress bar with the remaining time, on stderr; next to it the steps inside the stage."""

    def __init__(self) -> None:
        """Create the bar without drawing it."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress
        from rich.text import Text

        class Inside(ProgressColumn):
            """The innermost step, as it is at each refresh."""

            def render(self, task: Task) -> Text:
                inside = [each for each in running() if each is not task.fields["step"]]
                return Text(inside[-1].text() if inside else "")

        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
            Inside(),
            console=Console(stderr=True),
        )
        self._task: object = None
        self._step: Step | None = None

    def start(self, title: str, total: int, done: int = 0) -> None:
        """Draw the bar."""
        self._step = Step(title, total, done)
        begin(self._step)
        _Display.bars += 1
        self._bar.start()
        self._task = self._bar.add_task(title, total=total, completed=done, facts="", step=self._step)

    def update(self, done: int, **facts: float) -> None:
        """Update the bar."""
        text = "  ".join(f"{name} {value:.4g}" for name, value in facts.items())
        changed = {"facts": text} if text else {}
        self._bar.update(self._task, completed=done, **changed)  # type: ignore[arg-type]

    def finish(self) -> None:
        """Stop updating the bar."""
        if self._step is not None:
            end(self._step)
            self._step = None
            _Display.bars -= 1
        self._bar.stop()


class _Display:
    """Where life signs go. There is one for the process; `stream` None: nowhere."""

    stream: TextIO | None = None
    every = 0.0
    said = 0.0
    #: Bars on the screen, which refresh themselves.
    bars = 0


@contextlib.contextmanager
def life_signs(
    title: str | None = None, *, stream: TextIO | None = None, every: float | None = None
) -> Iterator[None]:
    """Print a line on `stream` (by default stderr) whenever none was printed for `every` seconds.

    The line says which steps are running, or `title` if none is. A thread prints it, so it appears
    however long a single call takes. Inside another block this does nothing.
    """
    if _Display.stream is not None:
        yield
        return
    root = None if title is None else Step(title)
    _Display.stream = stream or sys.stderr
    _Display.every = SECONDS_BETWEEN_LINES if every is None else every
    _Display.said = time.monotonic()
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(min(1.0, _Display.every / 4)):
            _say_if_due(root)

    thread = threading.Thread(target=watch, name="life signs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        _Display.stream = None


def _say_if_due(root: Step | None = None) -> None:
    # The first process of several prints for all; a bar shows the same by itself.
    if _Display.stream is None or _Display.bars or time.monotonic() - _Display.said < _Display.every:
        return
    steps = running() or ([] if root is None else [root])
    if steps:
        _say("; ".join(each.text() for each in steps))


def _say(line: str) -> None:
    _Display.said = time.monotonic()
    if _Display.stream is not None:
        with contextlib.suppress(ValueError, OSError):  # closed meanwhile
            print(line, file=_Display.stream, flush=True)


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
