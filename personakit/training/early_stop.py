"""Early stopping on a metric that no longer improves, or that reaches a target.

Both depend on metrics.jsonl only: a resumed stage replays its lines, so there is no further state to save.
"""

from __future__ import annotations

import json
import math
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
    """A value of a metric that ends a stage; the result has the weights of that step."""

    value: float
    """Stop when the metric's mean over the last `window` logging steps is at least this."""
    metric: str = "reward"
    """A name from metrics.jsonl."""
    window: int = 10
    """Number of logging steps, which is also the minimum before a stop."""


class TargetState:
    """The last values of a target's metric."""

    def __init__(self, settings: Target) -> None:
        """Start without values."""
        self._settings = settings
        self._last: deque[float] = deque(maxlen=settings.window)

    @property
    def reached(self) -> bool:
        """True if the stage should stop."""
        full = len(self._last) == self._settings.window
        return full and sum(self._last) / len(self._last) >= self._settings.value

    def observe_line(self, line: Mapping[str, Any]) -> None:
        """Add a line of metrics.jsonl if it has the metric."""
        value = line.get(self._settings.metric)
        if value is not None:
            self._last.append(float(value))

    def replay(self, metrics: Path, stage: str) -> None:
        """Add the lines that an earlier attempt of `stage` has logged in `metrics` (metrics.jsonl)."""
        for line in logged_lines(metrics, stage):
            self.observe_line(line)


class EarlyStopState:
    """The best value so far, its step, and the number of measurements since."""

    def __init__(self, settings: TrainingSettings) -> None:
        """Start without values."""
        self._settings = settings
        self._metric = settings.metric_for_best_model or ""
        self.best_value: float | None = None
        self.best_step: int | None = None
        self._waited = 0

    @property
    def should_stop(self) -> bool:
        """True if the metric has not improved for `early_stopping_patience` measurements."""
        return self._waited >= self._settings.early_stopping_patience

    def observe(self, step: int, value: float) -> bool:
        """Add the metric at `step`; return True if it is the best so far (NaN never is)."""
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
        """Add a line of metrics.jsonl if it has the metric; return True if it is the best so far."""
        if self._metric not in line:
            return False
        value = line[self._metric]  # null: it was not finite
        return self.observe(int(line["step"]), math.nan if value is None else float(value))

    def check_metric(self, line: Mapping[str, Any]) -> None:
        """Raise `UserError` if a line that should have the metric does not."""
        evaluated = any(name.startswith(_EVALUATED) for name in line)
        if evaluated == self._settings.stops_on_evaluation and self._metric not in line:
            names = ", ".join(sorted(set(line) - {"step"}))
            raise UserError(
                f'metric_for_best_model is "{self._metric}", expected one of {names}',
                hint="use a name from metrics.jsonl",
            )

    def replay(self, metrics: Path, stage: str) -> None:
        """Add the lines that an earlier attempt of `stage` has logged in `metrics` (metrics.jsonl)."""
        for line in logged_lines(metrics, stage):
            self.observe_line(line)


def logged_lines(metrics: Path, stage: str) -> Iterable[Mapping[str, Any]]:
    """Yield the lines of a stage in `metrics` (metrics.jsonl), which may not exist."""
    if not metrics.is_file():
        return []
    lines = map(json.loads, metrics.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line["stage"] == stage]
