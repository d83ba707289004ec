"""Transfer: the fraction of its gain that a rewriter keeps with another base model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from personakit.evaluation.candidates import Candidate
from personakit.evaluation.report import PageOptions, write_report
from personakit.evaluation.results import Claims, compute_results
from personakit.evaluation.runner import evaluate
from personakit.evaluation.statistics import Statistics
from personakit.suites import SUITES

from .people import Imitator
from .printing import printed
from .samples_of import accuracies
from .test_runner import FACTS, TASKS, people

LABELS = ("rewriter, other", "generic, other", "rewriter", "generic")


def levels(
    moved: float, moved_generic: float, own: float, own_generic: float, noise: float = 0.1
) -> Statistics:
    """Return four rows on two tasks, with users that are equally hard for all rows."""
    hard = np.random.default_rng(3).normal(0, noise, 200)
    values = dict(zip(LABELS, (moved, moved_generic, own, own_generic), strict=True))
    return Statistics(
        accuracies({(label, task, None): hard + level for label, level in values.items() for task in "ab"})
    )


def test_fraction_of_the_gain_kept():
    found = levels(0.6, 0.3, 0.8, 0.4).transfer(*LABELS)
    assert (found.gain.value, found.own_gain.value) == pytest.approx((0.3, 0.4))
    # A user's difficulty is the same in all four rows, so it cancels in every resample.
    assert (found.share.value, found.share.low, found.share.high) == pytest.approx((0.75, 0.75, 0.75))


def test_transfer_interval_is_that_of_the_ratio():
    """Compared with a plain loop over the same draws of users: a ratio of means, not a mean of ratios."""
    generator = np.random.default_rng(4)
    values = {
        label: generator.normal(level, 0.2, 60)
        for label, level in zip(LABELS, (0.6, 0.3, 0.8, 0.4), strict=True)
    }
    statistics = Statistics(
        accuracies({(label, "a", None): row for label, row in values.items()}), resamples=50
    )
    share = statistics.transfer(*LABELS).share
    for weights, value in zip(statistics.bootstrap._user_weights("a"), share.draws, strict=True):
        mean = {label: float(weights @ row) / 60 for label, row in values.items()}
        by_hand = (mean[LABELS[0]] - mean[LABELS[1]]) / (mean[LABELS[2]] - mean[LABELS[3]])
        assert value == pytest.approx(by_hand)
    assert share.low < share.value < share.high


def test_transfer_is_nan_without_a_gain():
    assert np.isnan(levels(0.6, 0.3, 0.4, 0.4).transfer(*LABELS).share.value)


class Slow(Imitator):
    """The imitator's answers with one more word at the start."""

    def respond(self, queries, profiles):  # type: ignore[no-untyped-def]
        from dataclasses import replace

        return [replace(answer, text=f"well {answer.text}") for answer in super().respond(queries, profiles)]


def test_transfer_is_in_results_table_and_report(tmp_path: Path):
    candidates = [
        Candidate("generic", Imitator, "empty"),
        Candidate("rewriter", Imitator),
        Candidate("generic, other", Slow, "empty"),
        Candidate("rewriter, other", Slow),
    ]
    examples = {"LaMP_4": people()["LaMP_4"]}
    log = evaluate(candidates, examples, TASKS, tmp_path)
    claims = Claims(
        [("rewriter, other", "generic, other")],
        transfers={"<other>": LABELS, "gone": ("x", "y", "z", "generic")},
    )
    results = compute_results(log, FACTS, claims, resamples=100)
    (moved,) = results["transfer"]
    value = {row["method"]: row["value"] for row in results["rows"] if row["metric"] == "primary"}
    by_hand = (value["rewriter, other"] - value["generic, other"]) / (value["rewriter"] - value["generic"])
    assert moved["share"] == pytest.approx(by_hand, abs=1e-4)
    assert moved["low"] <= moved["share"] <= moved["high"]
    assert (moved["base"], moved["generic"]) == ("<other>", "generic, other")
    line = next(one for one in printed(results, 120).splitlines() if one.startswith("<other>"))
    assert f"{100 * moved['share']:.0f} %" in line
    sections = SUITES["lamp"].sections(results, {})
    path = write_report(tmp_path / "report.html", results, sections, log, PageOptions("t"))
    page = path.read_text(encoding="utf-8")
    assert "share of the gain that is kept" in page
    assert "&lt;other&gt;" in page


def test_gain_on_few_tasks_is_reported_with_its_interval(tmp_path: Path):
    candidates = [Candidate("generic", Imitator, "empty"), Candidate("own", Imitator)]
    log = evaluate(candidates, {"LaMP_4": people()["LaMP_4"]}, TASKS, tmp_path)
    results = compute_results(
        log, FACTS, Claims([("own", "generic"), ("generic", "own"), ("own", "own")]), resamples=100
    )
    verdicts = [line.split()[-1] for line in printed(results, 120).splitlines() if "/1" in line]
    assert verdicts == ["yes", "loss", "no"]
