"""Checkpoints that a kill cannot spoil: one counts only once its marker is there, written last of all."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

_MARKER = "complete"


def mark_complete(checkpoint: Path) -> None:
    """Say that everything in `checkpoint` has been written."""
    (checkpoint / _MARKER).touch()


def newest_complete(folder: Path) -> tuple[Path, int] | None:
    """Return the newest whole checkpoint under `folder` and its step, after deleting those cut off."""
    whole: list[tuple[int, Path]] = []
    for checkpoint in folder.glob("checkpoint-*"):
        step = re.fullmatch(r"checkpoint-(\d+)", checkpoint.name)
        if step is None or not (checkpoint / _MARKER).is_file():
            shutil.rmtree(checkpoint)
        else:
            whole.append((int(step.group(1)), checkpoint))
    if not whole:
        return None
    number, newest = max(whole)
    return newest, number
