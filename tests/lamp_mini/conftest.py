"""A small benchmark, generated once per session."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from personakit.data.lamp_mini import generate

SMALL = {"train": 10, "dev": 10, "test": 120}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a few users only, as long as the test runs."""
    monkeypatch.setattr(generate, "USERS", {"train": 3, "dev": 2, "test": 2})
    monkeypatch.setattr(generate, "INSTRUCTIONS", {"lora": 5, "train": 5, "dev": 3, "test": 3})


@pytest.fixture(scope="session")
def benchmark_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The standard setting with fewer users."""
    root = tmp_path_factory.mktemp("lamp-mini")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "USERS", SMALL)
        patch.setenv("PERSONAKIT_CACHE", str(root / "cache"))
        generate.write_benchmark(root / "made")
    return root / "made"


def files(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
