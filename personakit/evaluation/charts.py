"""Where things stand in the report's charts: axes with round ticks, dots with intervals, curves.

Positions are percentages of the plot's width (curves: of width and height), so the page can draw at
any width without scaling its text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Points kept of a curve; more cannot be seen.
CURVE_POINTS = 400


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear axis from `low` to `high`, a little wider than its values."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float | None]) -> Axis:
        """Return an axis that holds `values`; None is skipped."""
        known = [value for value in values if value is not None]
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        margin = 0.04 * (high - low) or 0.05
        return cls(low - margin, high + margin)

    def at(self, value: float) -> float:
        """Return the place of `value` in percent from the low end."""
        return round(100 * (value - self.low) / (self.high - self.low), 3)

    def ticks(self, most: int = 5) -> list[Tick]:
        """Return about `most` ticks at round values."""
        step = _round_step((self.high - self.low) / most)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        if round(step * 10**digits, 6) % 1:
            digits += 1
        first = math.ceil(self.low / step)
        values = [number * step for number in range(first, math.floor(self.high / step) + 1)]
        return [Tick(self.at(value), f"{value + 0.0:.{digits}f}") for value in values]


@dataclass(frozen=True, slots=True)
class Dot:
    """A figure with its interval on an axis; the ends are None where there is no interval."""

    label: str
    text: str
    detail: str
    at: float | None
    low: float | None
    high: float | None
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """Dots under each other on one axis, with a line to compare them by."""

    title: str
    note: str
    ticks: Sequence[Tick]
    dots: Sequence[Dot]
    line: float | None


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a chart, as the points of an SVG polyline in a 100 x 100 box."""

    label: str
    points: str
    last: str


@dataclass(frozen=True, slots=True)
class CurveChart:
    """One measure of training over steps, a line a run."""

    title: str
    low: str
    high: str
    steps: str
    curves: Sequence[Curve]


def curve_chart(title: str, runs: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> CurveChart:
    """Draw (step, value) series of several runs on common axes, from edge to edge."""
    points = [point for _, series in runs for point in series]
    steps, values = _edges([step for step, _ in points]), _edges([value for _, value in points])
    curves = []
    for label, series in runs:
        kept = series[:: math.ceil(len(series) / CURVE_POINTS)]
        line = " ".join(f"{steps.at(step):.2f},{100 - values.at(value):.2f}" for step, value in kept)
        curves.append(Curve(label, line, f"{series[-1][1]:.4g}"))
    return CurveChart(title, f"{values.low:.3g}", f"{values.high:.3g}", f"{steps.high:.0f}", curves)


def _edges(values: Sequence[float]) -> Axis:
    low, high = min(values), max(values)
    return Axis(low, high if high > low else low + 1)


def _round_step(rough: float) -> float:
    power = 10 ** math.floor(math.log10(rough))
    return float(next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough - 1e-12))
