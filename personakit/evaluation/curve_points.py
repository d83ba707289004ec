"""Curves of an evaluation: the mean over tasks against the length of the history, or the items retrieved.

Each point is a pass of its own, logged and resumed like any other; all points share their resamples. A point
also has its context tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personakit.evaluation.measurements import Measurements, TaskMetrics
from personakit.evaluation.results import DIGITS, round_or_none
from personakit.evaluation.samples import read_samples
from personakit.evaluation.statistics import Statistics

#: The kinds of curves, and what their axis counts.
KINDS = {"history": "items in the history", "k": "items retrieved"}


@dataclass(frozen=True, slots=True)
class Point:
    """One place of a curve: the label of its row, and where on the axis."""

    method: str
    at: int

    @property
    def label(self) -> str:
        """The label of this point's passes in their log."""
        return f"{self.method} · {self.at}"


def curve_document(
    log: Path, points: Sequence[Point], tasks: Mapping[str, TaskMetrics], *, seed: int = 0
) -> list[dict[str, Any]]:
    """Compute the points of one curve from their log: value, interval, tokens. Empty where none can be."""
    statistics = Statistics(Measurements(read_samples(log), tasks), seed=seed)
    document = []
    for point in points:
        if not statistics.measurements.has_all(point.label):
            continue
        figure = statistics.primary(point.label)
        costs = statistics.measurements.costs(point.label, statistics.measurements.tasks)
        document.append(
            {
                "method": point.method,
                "at": point.at,
                "value": round_or_none(figure.value),
                "low": round_or_none(figure.low),
                "high": round_or_none(figure.high),
                "context_tokens": round(costs.per_answer("context_tokens"), DIGITS),
                "tokens": round(costs.per_answer("tokens"), DIGITS),
            }
        )
    return document
