"""The service's tests need the extra `serve`."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from personakit.serving.store import ProfileStore

    from .stubs import Stubs

_NEEDED = ("alembic", "cryptography", "fastapi", "prometheus_client", "sqlalchemy", "uvicorn")
if any(importlib.util.find_spec(name) is None for name in _NEEDED):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def store(tmp_path: Path) -> ProfileStore:
    from personakit.serving.store import open_store

    return open_store(str(tmp_path / "profiles"))


@pytest.fixture
def stubs(store: ProfileStore) -> Iterator[Stubs]:
    """A service with stub models, open to all."""
    from .stubs import stub_service

    made = stub_service(store)
    yield made
    made.service.answering.batcher.close()


@pytest.fixture
def client(stubs: Stubs) -> Iterator[TestClient]:
    """A client of that service."""
    from fastapi.testclient import TestClient

    from personakit.serving.app import create_app

    with TestClient(create_app(stubs.service), base_url="http://127.0.0.1") as made:
        yield made
