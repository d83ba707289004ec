"""Settings for all tests."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

sys.path.insert(0, str(Path(__file__).parent))

from forking import ForkServer

# Output into a pipe is as wide as its rows, but COLUMNS, which parallel pytest sets, would fold it.
os.environ.pop("COLUMNS", None)

_modules_frozen = 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that train: workers take whole files, and the last should be short."""
    trains = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in trains)


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


@pytest.fixture
def lamp_mini(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Put the built-in benchmark, which takes seconds to make, into this test's cache; made once for all."""
    from personakit.data.lamp_mini import generate
    from personakit.files import cache_folder

    root = tmp_path_factory.getbasetemp()
    shared = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "shared-cache"
    shared.mkdir(exist_ok=True)
    with FileLock(shared / "lock"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERSONAKIT_CACHE", str(shared))
        generate.folder()
    here = cache_folder() / "lamp-mini"
    if not here.exists():
        here.parent.mkdir(parents=True, exist_ok=True)
        here.symlink_to(shared / "lamp-mini", target_is_directory=True)
