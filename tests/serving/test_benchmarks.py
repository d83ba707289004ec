"""The benchmarks of the service, small: they run, and the rules that they check hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.extended  # each starts several processes
_FOLDER = Path(__file__).parents[2] / "benchmarks"


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(_FOLDER / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_nothing_is_lost_and_nobody_is_confused_under_kills() -> None:
    printed = run("serving_kill.py", "--seconds", 8, "--clients", 4, "--users", 20, "--base-seconds", 0.1)
    for expected in ("answers, personalised", "items acknowledged", " 0 acknowledged items lost"):
        assert expected in printed, printed


def test_latency_by_number_of_users(tmp_path: Path) -> None:
    options = ("--items", 3, "--clients", 2, "--requests", 10, "--seconds", 0.01)
    printed = run("serving.py", "--users", "20,30", *options, "--store", tmp_path / "store")
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith(("| 20 ", "| 30 "))]
    loaded = [(row[1], row[3].partition(" ")[2]) for row in rows]
    assert loaded == [("60", "for 20"), ("90", "for 10")], printed
