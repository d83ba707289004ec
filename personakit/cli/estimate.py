"""Shows the requests of a training to models behind an API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.models.cost import CostEstimate


def show_estimates(out: Console, estimates: Sequence[CostEstimate]) -> None:
    """Print the table of requests and their price."""
    from personakit.evaluation.sections import print_sections
    from personakit.suites.run import request_section

    print_sections([request_section(estimates)], out)


def in_json(estimates: Sequence[CostEstimate]) -> list[dict[str, Any]]:
    """The same for `--json`."""
    return [asdict(each) for each in estimates]
