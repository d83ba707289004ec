from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from personakit.data.imports import ImportReport, import_data
from personakit.data.own.importing import OwnChoice, OwnReport


class Imported:
    """What an import wrote."""

    def __init__(self, report: ImportReport) -> None:
        self.report, self.folder = report, report.output
        assert report.own is not None
        self.own: OwnReport = report.own
        lines = (self.folder / "profile.jsonl").read_text(encoding="utf-8").splitlines()
        self.items: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self.texts = [item["text"] for item in self.items]
        self.style = (self.folder / "style.md").read_text(encoding="utf-8")


Read = Callable[..., Imported]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Import a source as `me`, with names kept unless told otherwise."""

    def read(
        source: Path,
        *me: str,
        keep_names: bool = True,
        columns: dict[str, str] | None = None,
        format: str | None = None,
    ) -> Imported:
        output = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        report = import_data(source, output, format=format, columns=columns, own=OwnChoice(me, keep_names))
        return Imported(report)

    return read


def skipped(imported: Imported) -> dict[str, int]:
    """Return the counts of what was skipped."""
    return {
        reason.removeprefix("texts left out"): each.count for reason, each in imported.own.skipped.items()
    }


def fields(imported: Imported, name: str) -> Sequence[Any]:
    """Return a field of all items, None where it is unknown."""
    return [item.get(name) or None for item in imported.items]
