"""The trainer callback of every stage. Imports transformers, so import it lazily."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from personakit.training.checkpoints import mark_complete
from personakit.training.early_stop import EarlyStopState, TargetState
from personakit.training.flat_rewards import FlatRewards
from personakit.training.processes import wait_for_everyone
from personakit.training.progress import Progress
from personakit.training.run import Run
from personakit.training.stage import StageMetrics

_EVALUATED = "eval_"
#: Metrics shown in the progress bar, if logged.
_SHOWN = ("loss", "reward")


class StageCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Writes metrics.jsonl and checkpoint markers, stops early, and reports progress."""

    def __init__(
        self,
        run: Run,
        stage: str,
        meter: StageMetrics,
        progress: Progress,
        best: EarlyStopState | None = None,
        target: TargetState | None = None,
    ) -> None:
        """`best` and `target` already include the metrics of an earlier attempt."""
        self.before_save: Callable[[], None] = lambda: None
        """Raises if the checkpoint must not be used."""
        self.flat_rewards = FlatRewards(stage)
        self._run = run
        self._stage = stage
        self._meter = meter
        self._progress = progress
        self._best = best
        self._target = target
        self._last: tuple[float, int] = (time.monotonic(), 0)  # time and tokens of the last logged line

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock at the first step."""
        self._last = (time.monotonic(), self._meter.tokens(state.global_step, state))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Update the progress bar."""
        self._progress.update(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Append a line to metrics.jsonl, and apply early stopping."""
        logs = logs or {}
        if "loss" in logs:
            line = self._trained(state, logs)
        elif f"{_EVALUATED}loss" in logs:
            line = {
                _EVALUATED + name: value
                for key, value in logs.items()
                if key.startswith(_EVALUATED)
                and (name := self._meter.rename(key.removeprefix(_EVALUATED))) is not None
            }
        else:
            return
        self._run.log_metrics(self._stage, state.global_step, **line)
        if self._run.writes:
            self.flat_rewards.observe(line)
        if self._best is not None:
            self._judge({"step": state.global_step, **line}, self._best, state, control)
        if self._target is not None:
            self._target.observe_line(line)
            if self._target.reached:
                _stop(control)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the checkpoint as complete, and record the seconds so far in run.json."""
        self.before_save()
        wait_for_everyone()  # each process writes its own random state
        if self._run.writes:
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")
            self._run.record()

    def _trained(self, state: Any, logs: Any) -> dict[str, Any]:
        step, now = state.global_step, time.monotonic()
        tokens = self._meter.tokens(step, state)
        then, earlier = self._last
        speed = (tokens - earlier) / max(now - then, 1e-9)
        self._last = (now, tokens)
        values = {name: value for key, value in logs.items() if (name := self._meter.rename(key)) is not None}
        shown = {name: float(values[name]) for name in _SHOWN if values.get(name) is not None}
        self._progress.update(step, **shown, tokens_per_second=speed)
        return values | {"tokens": tokens, "tokens_per_second": round(speed)}

    def _judge(self, line: dict[str, Any], best: EarlyStopState, state: Any, control: Any) -> None:
        best.check_metric(line)
        if best.observe_line(line):
            # The trainer keeps this checkpoint and loads its weights at the end.
            state.best_global_step = state.global_step
            state.best_metric = best.best_value
            control.should_save = True
        elif best.should_stop:
            _stop(control)


def _stop(control: Any) -> None:
    # No checkpoint at the stop: a run resumed from it would make another step.
    control.should_save = False
    control.should_training_stop = True
