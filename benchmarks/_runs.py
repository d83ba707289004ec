"""Shared by the benchmarks of the methods: commands on one thread each, and resumable runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ALONE = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "110"}


def personakit(*arguments: str) -> str:
    """Run one command on one thread and return what it printed."""
    command = [sys.executable, "-m", "personakit", *arguments]
    done = subprocess.run(command, env=ALONE, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
    return done.stdout


def train(method: str, folder: Path, arguments: Sequence[str]) -> Path:
    """Train a run of `method` into `folder`, or resume the one that is there."""
    begun = (folder / "run.json").exists()
    personakit("train", method, *arguments, "--output", str(folder), *(["--resume"] if begun else []))
    return folder
