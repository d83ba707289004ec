"""Ctrl-C at one step of one stage of a training."""

from __future__ import annotations

from personakit.training.progress import SilentProgress


class InterruptsAt(SilentProgress):
    """Raises KeyboardInterrupt after `step` steps of `stage`."""

    def __init__(self, stage: str, step: int) -> None:
        self._stage, self._step, self._now = stage, step, ""

    def start(self, title: str, total: int, done: int = 0) -> None:
        self._now = title

    def update(self, done: int, **facts: float) -> None:
        if self._now == self._stage and done >= self._step:
            raise KeyboardInterrupt
