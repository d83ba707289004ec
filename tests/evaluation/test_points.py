from __future__ import annotations

from pathlib import Path

import pytest

from personakit.evaluation.candidates import Candidate, profile_for
from personakit.evaluation.charts import point_chart
from personakit.evaluation.curve_points import Point, curve_document
from personakit.evaluation.runner import evaluate

from .people import Imitator, headline
from .test_runner import FACTS, TASKS, people


def test_a_history_is_cut_to_its_newest_items():
    example = headline(1, dates=("2001", "2002", "2003"))

    def ids(items: int | None) -> list[str]:
        return [item.id for item in profile_for(Candidate("m", Imitator, items=items), example, None).items]

    assert (ids(0), ids(1), ids(2), ids(9)) == ([], ["h2"], ["h1", "h2"], ["h0", "h1", "h2"])
    assert ids(None) == ["h0", "h1", "h2"]


def test_curve_points_have_values_and_costs(tmp_path: Path):
    points = [Point("imitator", at) for at in (0, 1)]
    candidates = [Candidate(point.label, Imitator, items=point.at) for point in points]
    log = evaluate(candidates, people(), TASKS, tmp_path)
    cold, warm = curve_document(log, points, FACTS)
    assert (cold["method"], cold["at"], warm["at"]) == ("imitator", 0, 1)
    assert cold["low"] <= cold["value"] <= cold["high"]
    assert warm["value"] > cold["value"]
    assert warm["context_tokens"] == 4


def test_chart_positions_match_values():
    some = [{"at": at, "value": value, "low": None, "high": None} for at, value in ((0, 0.2), (8, 0.6))]
    chart = point_chart("t", "n", "x", {"m": some, "none": []}, "at", evenly=True)
    assert chart is not None
    (line,) = chart.lines
    (first, last) = line.marks
    assert (first.x, last.x) == (25.0, 75.0)  # evenly, although 0 and 8 are far apart
    assert first.y > last.y  # y is from the top
    assert first.low is None
    assert point_chart("t", "n", "x", {"m": [{**some[0], "value": None}]}, "at") is None


@pytest.mark.parametrize("items", [0, 1])
def test_truncated_history_is_logged(tmp_path: Path, items: int):
    from personakit.evaluation.samples import read_samples

    log = evaluate([Candidate("m", Imitator, items=items)], people(2), TASKS, tmp_path)
    assert {sample.profile_items for sample in read_samples(log)} == {items}
