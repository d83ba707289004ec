"""A run's `metrics.jsonl` as TensorBoard events, for those who look at their runs there."""

from __future__ import annotations

import json
from pathlib import Path

from personakit.errors import UserError

FOLDER = "tensorboard"


def write_events(run: Path) -> Path:
    """Write every number of the run's metrics as a scalar, a tag a stage and measure; return the folder.

    What an earlier call wrote is replaced. Raises `UserError` where TensorBoard is not installed, and where
    the run has measured nothing.
    """
    metrics = run / "metrics.jsonl"
    if not metrics.is_file():
        raise UserError(f"{run}: nothing to draw (it has no metrics.jsonl)", hint="name a run's folder")
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(
            "--tensorboard needs TensorBoard, which is not installed",
            hint="pip install 'personakit[tensorboard]'",
        ) from error
    folder = run / FOLDER
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    with SummaryWriter(str(folder)) as writer:
        for line in metrics.read_text(encoding="utf-8").splitlines():
            try:
                values = json.loads(line)
            except ValueError:  # the line of a run killed while writing
                continue
            stage, step = values.pop("stage", "run"), values.pop("step", 0)
            for name, value in values.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    writer.add_scalar(f"{stage}/{name}", value, step)
    return folder
