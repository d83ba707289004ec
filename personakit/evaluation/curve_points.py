"""Curves of an evaluation: the mean over tasks against the history's length, or the items retrieved.

Each point is a pass of its own (`Candidate.items`, or another k), logged and resumed like any; all points
share their resamples. A point knows its context tokens, so the same points are the curve of the price.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personakit.evaluation.candidates import Candidate
from personakit.evaluation.measurements import Measurements, TaskFacts
from personakit.evaluation.results import DIGITS, round_or_none
from personakit.evaluation.samples import read_samples
from personakit.evaluation.statistics import Statistics

#: The curves there are, what is counted on their axis, and where.
KINDS = {"history": "items in the history", "k": "items retrieved"}
POINTS = {"history": (0, 1, 2, 4, 8, 16), "k": (1, 2, 4, 8, 16)}


@dataclass(frozen=True, slots=True)
class Point:
    """One place of a curve: the row it belongs to, where on the axis, and who answers there."""

    method: str
    at: int
    candidates: Sequence[Candidate]

    @property
    def label(self) -> str:
        """What the passes of this point are called in their log."""
        return f"{self.method} · {self.at}"


def curve_document(
    log: Path, points: Sequence[Point], tasks: Mapping[str, TaskFacts], *, seed: int = 0
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
