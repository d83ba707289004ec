"""The benchmarks of the service, small: they run, and the rules that they check hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.extended  # each starts several processes
_FOLDER = Path(__file__).parents[2] / "benchmarks"


def run(script: str, *arguments: object, status: int = 0) -> str:
    command = [sys.executable, str(_FOLDER / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout if status == 0 else done.stderr


def test_nothing_is_lost_and_nobody_is_confused_under_kills() -> None:
    printed = run("serving_kill.py", "--seconds", 8, "--clients", 4, "--users", 20, "--base-seconds", 0.1)
    for expected in ("answers, personalised", "items acknowledged", " 0 acknowledged items lost"):
        assert expected in printed, printed


def test_latency_by_number_of_users(tmp_path: Path) -> None:
    options = ("--items", 3, "--clients", 2, "--requests", 10, "--seconds", 0.01)
    printed = run("serving.py", "--users", "20,30", *options, "--store", tmp_path / "store")
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith(("| 20 ", "| 30 "))]
    assert [(row[1], row[3]) for row in rows] == [("60", "20"), ("90", "10")], printed
    assert "| 1,000,000, extrapolated | 3,000,000 | " in printed
    again = ("--users", 20, "--store", tmp_path / "store")
    assert "has 30 users, expected 20" in run("serving.py", *again, status=1)
