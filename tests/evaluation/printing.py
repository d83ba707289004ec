"""Prints results as `personakit eval lamp` does."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from personakit.evaluation.measurements import read_costs
from personakit.evaluation.report import PageOptions, write_report
from personakit.evaluation.sections import print_sections
from personakit.suites import SUITES


def printed(results: dict[str, Any], width: int = 80, log: Path | None = None) -> str:
    file = io.StringIO()
    costs = {} if log is None else read_costs(log)
    print_sections(SUITES["lamp"].sections(results, costs), Console(file=file, width=width, no_color=True))
    return file.getvalue()


def page_of(folder: Path, results: dict[str, Any], log: Path) -> str:
    sections = SUITES["lamp"].sections(results, read_costs(log))
    path = write_report(folder / "report.html", results, sections, log, PageOptions("t"))
    return path.read_text(encoding="utf-8")
