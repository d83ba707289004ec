"""What every shipped configuration promises in its header, for all methods."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import pytest

from personakit.config.training import DEFAULT_MODEL

from .architectures import real_config


class Stage(Protocol):
    """A stage's memory on one device, as a dry run estimates it."""

    stage: str
    estimate: Any


def representatives(files: Iterable[Path], *names: str) -> pytest.MarkDecorator:
    """Parametrise `path` by all files; those but the named ones run in `make test-all` only."""
    return pytest.mark.parametrize(
        "path",
        [
            pytest.param(path, id=path.stem, marks=[] if path.stem in names else pytest.mark.extended)
            for path in files
        ],
    )


def header(path: Path) -> str:
    """The comment above the settings."""
    return path.read_text(encoding="utf-8").split("\n\nmodel:")[0]


def check_launch_line(path: Path, method: str, data: str) -> None:
    """The header says how to launch it, and leaves the data folder to the user to name."""
    told = header(path)
    command = f"personakit train {method}"
    assert f"{command}{'' if path.stem == DEFAULT_MODEL else f' --config {path.stem}'}" in told
    for line in told.splitlines():
        if command in line and data != "lamp-mini":
            assert "data.path=" in line


def published_shape(name: str, folder: Path) -> str:
    """Write the published configuration of a hub's model into `folder`, without weights."""
    published = real_config(name)
    assert published is not None, f"add the configuration of {name} to tests/models/architectures.py"
    published.save_pretrained(folder)
    return str(folder)


def check_memory(path: Path, stages: Iterable[Stage], *, also: dict[str, str] | None = None) -> None:
    """The header says what the estimate says, for one GPU in bfloat16; `also`: other wordings of a stage."""
    told = " ".join(line.lstrip("# ") for line in header(path).splitlines())
    for stage in stages:
        found = re.search(rf"{stage.stage} ([\d.]+) GB", told)
        if found is None and stage.stage in (also or {}):
            found = re.search(rf"([\d.]+) GB {also[stage.stage]}", told)
        assert found, f"{path}: nothing on {stage.stage}"
        assert float(found[1]) == pytest.approx(stage.estimate.total / 1e9, rel=0.02, abs=0.06), stage.stage


def says_memory(path: Path) -> bool:
    """Whether the header has an estimate."""
    return "Memory, estimated" in header(path)


def of_the_hub(model: str) -> bool:
    """Whether a configuration's model is one that a hub has."""
    return "/" in model
