"""The service's tests need the extra `serve`."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from personakit.errors import UserError
from personakit.serving import require_packages

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from personakit.serving.store import ProfileStore

    from .stubs import Stubs

try:
    require_packages()
except UserError:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where a new store can be: a folder, or a new database of the server that TEST_POSTGRES names."""
    server = os.environ.get("TEST_POSTGRES")  # such as postgresql+psycopg://postgres@127.0.0.1:5432
    if not server:
        yield str(tmp_path / "profiles")
        return
    from sqlalchemy import create_engine

    monkeypatch.chdir(tmp_path)  # the master key is in ./profiles
    database = f"personakit_{uuid.uuid4().hex}"
    engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {database}")
    yield f"{server}/{database}"
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {database} WITH (FORCE)")
    engine.dispose()


@pytest.fixture
def store(place: str) -> ProfileStore:
    from personakit.serving.store import open_store

    return open_store(place)


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
