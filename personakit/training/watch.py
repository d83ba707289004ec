"""The callback that every stage over a TRL trainer shares. Imports transformers: load it lazily."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from personakit.training.checkpoints import mark_complete
from personakit.training.progress import Progress
from personakit.training.run import Run

# The trainer's names on the left, ours on the right; what is not here is not logged.
_LOGGED = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "entropy": "entropy",
    "mean_token_accuracy": "token_accuracy",
}


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Writes metrics.jsonl and the checkpoints' markers, and tells the progress reporter."""

    def __init__(self, run: Run, stage: str, tokens_by_step: Sequence[int], progress: Progress) -> None:
        """`tokens_by_step[s]` is how many training tokens the first s + 1 steps see."""
        self._run = run
        self._stage = stage
        self._tokens_by_step = tokens_by_step
        self._progress = progress
        self._last: tuple[float, int] = (time.monotonic(), 0)  # when the last line was logged, and its step

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock at the step the stage begins or goes on from."""
        self._last = (time.monotonic(), state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the bar."""
        self._progress.update(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Append a line to metrics.jsonl."""
        if not state.is_world_process_zero or "loss" not in (logs or {}):
            return
        now, step = time.monotonic(), state.global_step
        then, earlier = self._last
        speed = (self._tokens(step) - self._tokens(earlier)) / max(now - then, 1e-9)
        self._last = (now, step)
        values = {ours: logs[theirs] for theirs, ours in _LOGGED.items() if theirs in logs}
        self._run.log_metrics(
            self._stage, step, **values, tokens=self._tokens(step), tokens_per_second=round(speed)
        )
        self._progress.update(step, loss=float(logs["loss"]), tokens_per_second=speed)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the checkpoint whole, and note the seconds so far: after a kill they are known to here."""
        if state.is_world_process_zero:
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")
            self._run.record()

    def _tokens(self, step: int) -> int:
        return self._tokens_by_step[step - 1] if step else 0
