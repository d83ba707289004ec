"""What holds for every test."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from forking import ForkServer

# Output into a pipe is as wide as its rows, but COLUMNS, which parallel pytest sets, would fold it.
os.environ.pop("COLUMNS", None)

_modules_frozen = 0


def pytest_runtest_setup() -> None:
    """Exempt large libraries from garbage collection: each training collects, and would walk all of torch."""
    global _modules_frozen
    if len(sys.modules) > _modules_frozen + 100:
        _modules_frozen = len(sys.modules)
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session")
def forked() -> Iterator[ForkServer]:
    """Runs scripts in processes that have nothing to import."""
    server = ForkServer()
    yield server
    server.stop()
