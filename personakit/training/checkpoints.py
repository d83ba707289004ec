"""Crash-safe checkpoints: a checkpoint is valid only if its marker file, which is written last, exists."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

_MARKER = "complete"


def mark_complete(checkpoint: Path) -> None:
    """Mark `checkpoint` as completely written."""
    (checkpoint / _MARKER).touch()


def newest_complete(folder: Path) -> tuple[Path, int] | None:
    """Delete incomplete checkpoints in `folder`; return the newest complete one and its step, or None."""
    complete: list[tuple[int, Path]] = []
    for checkpoint in folder.glob("checkpoint-*"):
        step = re.fullmatch(r"checkpoint-(\d+)", checkpoint.name)
        if step is None or not (checkpoint / _MARKER).is_file():
            shutil.rmtree(checkpoint)
        else:
            complete.append((int(step.group(1)), checkpoint))
    if not complete:
        return None
    number, newest = max(complete)
    return newest, number
