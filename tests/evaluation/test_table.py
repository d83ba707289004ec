from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from personakit.evaluation.candidates import Candidate
from personakit.evaluation.results import Claims, compute_results
from personakit.evaluation.runner import evaluate

from .people import Imitator
from .printing import printed
from .test_runner import FACTS, TASKS, Unsteady, people

NAMES = ("imitator", "imitator [/] of [red]nobody's[/red] history", "imitator, another user's history")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    candidates = [
        Candidate(NAMES[0], Imitator),
        Candidate(NAMES[1], Imitator, "empty"),
        Candidate(NAMES[2], Unsteady, "other"),
    ]
    log = evaluate(candidates, people(), TASKS, tmp_path_factory.mktemp("run"))
    claims = Claims([NAMES[:2]], [(NAMES[0], NAMES[2], NAMES[1])], [(NAMES[0], NAMES[1], NAMES[0])])
    return compute_results(log, FACTS, claims, resamples=200)


def test_table_fits_80_columns_without_cutting_labels(results: dict[str, Any]):
    text = printed(results)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert "…" not in text
    assert all(word in text for name in NAMES for word in name.split())


def test_labels_are_not_read_as_markup(results: dict[str, Any]):
    assert "[/] of [red]nobody's[/red]" in printed(results, width=200)


def test_table_values_equal_the_results(results: dict[str, Any]):
    line = next(one for one in printed(results, width=200).splitlines() if one.startswith("imitator "))
    values = {(row["task"], row["metric"]): row["value"] for row in results["rows"][:5]}
    shown = [values["LaMP_3", "MAE"], values["LaMP_4", "rouge-1"], values["all", "primary"]]
    assert line.split()[1:] == [*(f"{value:.3f}" for value in shown), "4"]


def test_problems_are_printed_except_empty_histories_of_controls(results: dict[str, Any]):
    text = " ".join(printed(results).split())
    assert "imitator, another user's history: 8 of 20 samples without an answer" in text
    assert "without a history" not in text
    assert "wrong-user test of imitator" in text
    assert "2 tasks significantly better, 5 needed" in text
    assert "MAE (lower is better)" in text


def test_one_task_has_no_mean(tmp_path: Path):
    log = evaluate([Candidate("m", Imitator)], {"LaMP_3": people()["LaMP_3"]}, TASKS, tmp_path)
    assert "mean" not in printed(compute_results(log, FACTS)).splitlines()[2]


def test_groups_of_queries_are_not_called_users(tmp_path: Path):
    log = evaluate([Candidate("m", Imitator)], people(), TASKS, tmp_path)
    text = " ".join(printed(compute_results(log, FACTS, users_are="groups of queries")).split())
    assert "20 examples of 10 groups of queries" in text


def test_tasks_with_negative_intervals_are_named(results: dict[str, Any]):
    assert "is below 0 on" not in printed(results)
    comparisons = [
        row | {"low": -0.4, "high": -0.1} if (row["task"], row["metric"]) == ("LaMP_3", "MAE") else row
        for row in results["comparisons"]
    ]
    text = " ".join(printed(results | {"comparisons": comparisons}).split())
    assert f"{NAMES[0]} against {NAMES[1]}: the interval of the difference" in text
    assert "is below 0 on LaMP_3." in text
