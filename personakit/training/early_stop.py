"""Stop when a metric has not improved for a while, and keep the weights that were best; or at a target.

Either decision is a function of the lines of metrics.jsonl alone: a resumed stage reads them again and
stands where it stood, with no state of its own to save.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personakit.config.training import TrainingSettings
from personakit.errors import UserError

_EVALUATED = "eval_"


@dataclass(frozen=True, slots=True)
class Target:
    """When a stage has got far enough. Its result is the weights it has then."""

    value: float
    """Stop once the metric's mean over the last `window` logging steps is at least this."""
    metric: str = "reward"
    """A name from metrics.jsonl."""
    window: int = 10
    """Logging steps; the stage makes at least as many."""


class TargetWatch:
    """The last measurements of a target's metric."""

    def __init__(self, settings: Target) -> None:
        """Nothing measured yet."""
        self._settings = settings
        self._last: deque[float] = deque(maxlen=settings.window)

    @property
    def reached(self) -> bool:
        """Whether it is time to stop."""
        full = len(self._last) == self._settings.window
        return full and sum(self._last) / len(self._last) >= self._settings.value

    def observe_line(self, line: Mapping[str, Any]) -> None:
        """Take in a line of metrics.jsonl if it holds the metric."""
        value = line.get(self._settings.metric)
        if value is not None:
            self._last.append(float(value))

    def replay(self, metrics: Path, stage: str) -> None:
        """Take in what an earlier attempt of `stage` has logged in `metrics` (metrics.jsonl)."""
        for line in _logged(metrics, stage):
            self.observe_line(line)


class EarlyStopState:
    """The best value so far, and for how many measurements there has been no better one."""

    def __init__(self, settings: TrainingSettings) -> None:
        """Nothing measured yet."""
        self._settings = settings
        self._metric = settings.metric_for_best_model or ""
        self.best_value: float | None = None
        self.best_step: int | None = None
        self._waited = 0

    @property
    def exhausted(self) -> bool:
        """Whether it is time to stop."""
        return self._waited >= self._settings.early_stopping_patience

    def observe(self, step: int, value: float) -> bool:
        """Take in the metric at `step`; return whether it is the best so far (NaN never is)."""
        if self.best_value is None:
            better = value == value
        else:
            gain = value - self.best_value if self._settings.maximizes else self.best_value - value
            better = gain > self._settings.early_stopping_threshold
        if better:
            self.best_value, self.best_step, self._waited = value, step, 0
        else:
            self._waited += 1
        return better

    def observe_line(self, line: Mapping[str, Any]) -> bool:
        """Take in a line of metrics.jsonl if it holds the metric; return whether it is the best so far."""
        value = line.get(self._metric)
        return value is not None and self.observe(int(line["step"]), float(value))

    def check_metric(self, line: Mapping[str, Any]) -> None:
        """Raise `UserError` where a line that should hold the metric does not."""
        evaluated = any(name.startswith(_EVALUATED) for name in line)
        if evaluated == self._settings.stops_on_evaluation and self._metric not in line:
            names = ", ".join(sorted(set(line) - {"step"}))
            raise UserError(
                f'metric_for_best_model is "{self._metric}", expected one of {names}',
                hint="name a metric as metrics.jsonl does",
            )

    def replay(self, metrics: Path, stage: str) -> None:
        """Take in what an earlier attempt of `stage` has logged in `metrics` (metrics.jsonl)."""
        for line in _logged(metrics, stage):
            self.observe_line(line)


def _logged(metrics: Path, stage: str) -> Iterable[Mapping[str, Any]]:
    if not metrics.is_file():
        return []
    lines = map(json.loads, metrics.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line["stage"] == stage]
