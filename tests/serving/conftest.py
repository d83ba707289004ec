"""The service's tests need the extra `serve`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from personakit.serving.store import ProfileStore

_NEEDED = ("alembic", "cryptography", "fastapi", "prometheus_client", "sqlalchemy", "uvicorn")
if any(importlib.util.find_spec(name) is None for name in _NEEDED):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def store(tmp_path: Path) -> ProfileStore:
    from personakit.serving.store import open_store

    return open_store(str(tmp_path / "profiles"))
