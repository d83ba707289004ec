"""The report's training charts: one per metric, with a line per stage."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import orjson

from personakit.errors import UserError
from personakit.evaluation.charts import CurveChart, curve_chart

#: Maximum number of charts; these metrics come first.
MOST_CURVES = 12
_CURVES_FIRST = (
    *("loss", "eval_loss", "reward", "reward/task"),
    *("eval_accuracy", "eval_bits_over_none", "eval_bits_over_another"),
    *("entropy", "completion_length", "unparsable"),
    *("summary_tokens", "summaries_distinct", "users_distinct"),
)
_NOT_MEASURES = frozenset(("step", "epoch", "time", "seconds", "tokens", "tokens_per_second"))
_NUMBERED = re.compile(r"(?P<name>.+)-\d+")

Points = list[tuple[float, float]]
"""(step, value), in the order of training."""


def training_charts(training: Mapping[str, Path]) -> list[CurveChart]:
    """Draw the metrics in the runs' `metrics.jsonl` with at least two points, with a line per stage.

    Numbered parts of a stage (`rl-1`, `rl-2`: the curriculum) form one line. With several runs the line is
    their mean.
    """
    measures: dict[str, dict[str, list[Points]]] = defaultdict(lambda: defaultdict(list))
    for label, path in training.items():
        for name, stages in _series(_metric_lines(path)).items():
            for stage, points in stages.items():
                line = ", ".join(filter(None, (label if len(training) == 1 else "", stage))) or "all stages"
                measures[name][line].append(points)
    drawable = {}
    for name, lines in measures.items():
        means = [(_named(line, len(runs)), _mean(runs)) for line, runs in lines.items()]
        drawable[name] = [(line, points) for line, points in means if len(points) > 1]
    order = sorted(
        (name for name, lines in drawable.items() if lines),
        key=lambda name: _CURVES_FIRST.index(name) if name in _CURVES_FIRST else len(_CURVES_FIRST),
    )
    return [curve_chart(name, drawable[name]) for name in order[:MOST_CURVES]]


def _series(lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Points]]:
    """Return the points by metric and stage."""
    series: dict[str, dict[str, Points]] = defaultdict(dict)
    before: dict[str, float] = defaultdict(float)  # steps of earlier parts of a stage
    part, last = "", 0.0
    for number, line in enumerate(lines):
        title = str(line.get("stage", ""))
        numbered = _NUMBERED.fullmatch(title)
        stage = numbered["name"] if numbered else title
        if title != part and part.startswith(f"{stage}-") and numbered:
            before[stage] += last
        part, last = title, float(line.get("step", number))
        for name, value in line.items():
            if name not in _NOT_MEASURES and _is_number(value):
                series[name].setdefault(stage, []).append((before[stage] + last, float(value)))
    return series


def _mean(runs: Sequence[Points]) -> Points:
    """Return the mean of the runs at each step that all of them logged."""
    values: dict[float, list[float]] = defaultdict(list)
    for points in runs:
        for step, value in dict(points).items():
            values[step].append(value)
    return [(step, fmean(values[step])) for step in sorted(values) if len(values[step]) == len(runs)]


def _named(line: str, runs: int) -> str:
    return line if runs == 1 else f"{line}, mean of {runs} runs"


def _metric_lines(path: Path) -> list[dict[str, Any]]:
    lines = path.read_bytes().splitlines()
    parsed = []
    for number, line in enumerate(lines, start=1):
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            if number == len(lines):  # the run was killed while writing
                break
            raise UserError(
                f"{path}, line {number}: not JSON ({error}), expected one object per line",
                hint="remove the line, or write the report without this run",
            ) from error
        if isinstance(record, dict):
            parsed.append(record)
    return parsed


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
