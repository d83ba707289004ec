"""Geometry of the report's charts: axes with round ticks, points with intervals, curves.

Positions are percentages of the plot's width (curves: width and height), so that charts scale but text does
not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

#: Maximum points of a curve; more would not be visible.
CURVE_POINTS = 400


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled position on an axis, in percent."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear axis from `low` to `high`, a little wider than its values."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float | None]) -> Axis:
        """Return an axis that covers `values`; None is skipped."""
        known = [value for value in values if value is not None]
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        margin = 0.04 * (high - low) or 0.05
        return cls(low - margin, high + margin)

    def at(self, value: float) -> float:
        """Return the position of `value` in percent from the low end."""
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
    """A value and the ends of its interval on an axis, in percent, or None."""

    at: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class IntervalChart:
    """Dots on one axis, with reference lines."""

    ticks: Sequence[Tick]
    dots: Sequence[Dot]
    lines: Sequence[float]


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a chart, as the points of an SVG polyline in a 100 x 100 box."""

    label: str
    points: str
    last: str


@dataclass(frozen=True, slots=True)
class CurveChart:
    """One metric over steps, with a line per run."""

    title: str
    low: str
    high: str
    steps: str
    curves: Sequence[Curve]
    kind: ClassVar[str] = "curve"


@dataclass(frozen=True, slots=True)
class Mark:
    """A value with its interval in a chart with two axes, in percent; y is from the top."""

    x: float
    y: float
    low: float | None
    high: float | None
    text: str


@dataclass(frozen=True, slots=True)
class ChartLine:
    """The connected marks of one label; `number` selects its style."""

    number: int
    label: str
    marks: Sequence[Mark]

    @property
    def joins(self) -> list[tuple[Mark, Mark]]:
        """Pairs of neighbouring marks."""
        return list(zip(self.marks, self.marks[1:], strict=False))


@dataclass(frozen=True, slots=True)
class PointChart:
    """Values over a second quantity, with a line per method."""

    title: str
    note: str
    x_title: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    lines: Sequence[ChartLine]
    kind: ClassVar[str] = "points"


def interval_chart(
    rows: Sequence[tuple[float | None, float | None, float | None]], lines: Sequence[float]
) -> IntervalChart:
    """Draw (value, low, high) of each row on one axis that also covers `lines`."""
    axis = Axis.over([*lines, *(end for row in rows for end in row)])
    dots = [Dot(*(None if end is None else axis.at(end) for end in row)) for row in rows]
    return IntervalChart(axis.ticks(), dots, [axis.at(line) for line in lines])


def point_chart(
    title: str,
    note: str,
    x_title: str,
    series: Mapping[str, Sequence[Mapping[str, Any]]],
    along: str,
    *,
    evenly: bool = False,
) -> PointChart | None:
    """Draw points {`along`, value, low, high} of each label; None if no point has a value.

    `evenly`: equal distances between the x values (0, 1, 2, 4, 8), else a linear axis.
    """
    known = {label: [one for one in some if one["value"] is not None] for label, some in series.items()}
    points = [one for some in known.values() for one in some]
    if not points:
        return None
    values = Axis.over(one[end] for one in points for end in ("value", "low", "high"))
    places = sorted({one[along] for one in points})
    across = Axis(-0.5, len(places) - 0.5) if evenly else Axis.over([0.0, *places])
    index = {place: number for number, place in enumerate(places)}

    def at(one: Mapping[str, Any]) -> float:
        return across.at(index[one[along]] if evenly else one[along])

    def down(value: float | None) -> float | None:
        return None if value is None else round(100 - values.at(value), 3)

    lines = [
        ChartLine(
            number,
            label,
            [
                Mark(
                    at(one),
                    round(100 - values.at(one["value"]), 3),
                    down(one["low"]),
                    down(one["high"]),
                    f"{label}, {one[along]:.0f}: {one['value']:.3f}",
                )
                for one in some
            ],
        )
        for number, (label, some) in enumerate(known.items())
        if some
    ]
    ticks = [Tick(across.at(index[place]), str(place)) for place in places] if evenly else across.ticks()
    rows = [Tick(round(100 - tick.at, 3), tick.label) for tick in values.ticks()]
    return PointChart(title, note, x_title, ticks, rows, lines)


def curve_chart(title: str, runs: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> CurveChart:
    """Draw the (step, value) series of several runs on common axes without margins."""
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
