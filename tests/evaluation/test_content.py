"""Content kept: the facts of a generic answer, and which of them a rewrite keeps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from personakit.evaluation.candidates import Candidate
from personakit.evaluation.measurements import Measurements, TaskMetrics, task_metrics
from personakit.evaluation.results import compute_results
from personakit.evaluation.runner import evaluate
from personakit.evaluation.samples import Sample
from personakit.evaluation.statistics import Statistics
from personakit.tasks import get_task
from personakit.tasks.content import count_kept, entities_and_numbers, words_of

from .people import Imitator
from .printing import page_of, printed
from .samples_of import sample
from .test_runner import FACTS, TASKS, people

TEXT = TaskMetrics(("rouge-1",), find_facts=entities_and_numbers)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("We met Anna Berg in Oslo on 12 May.", {"anna", "berg", "oslo", "12", "may"}),
        ("Hello there. We start at 9:30, room B12.", {"9:30", "b12"}),
        ("Dear Anna,\nThanks for Monday's notes.\nBest,\nTom", {"anna", "monday"}),
        ("It cost 1,200 euros, and I think I'm happy.", {"1200"}),
        ("The Ten Best Cities To Live In For 2026", {"2026"}),  # title case: capitals are ignored
        ("CALL ME NOW", set()),
        ("nothing here is named", set()),
        ("", set()),
    ],
)
def test_names_and_numbers_are_facts_but_not_sentence_starts(text: str, facts: set[str]):
    assert entities_and_numbers(text) == facts


@pytest.mark.parametrize(
    ("rewrite", "kept"),
    [
        ("Anna, see you in Oslo at 9:30!", 3),
        ("ANNA AND OSLO", 2),
        ("Anna's train to Osloer Strasse", 1),  # whole words only
        ("See you", 0),
        ("", 0),
    ],
)
def test_fact_is_kept_in_any_position_and_spelling(rewrite: str, kept: int):
    assert count_kept("I will meet Anna in Oslo at 9:30.", rewrite, entities_and_numbers) == (kept, 3)


def test_commas_in_numbers_do_not_matter():
    assert count_kept("It costs 12,000 now", "12000!", entities_and_numbers) == (1, 1)
    assert "12000" in words_of("12,000")


def rewrites(pairs: Iterable[tuple[str | None, str]], method: str = "m") -> list[Sample]:
    made = []
    for place, (generic, text) in enumerate(pairs):
        one = sample(method, "t", place, prediction=text, **{"rouge-1": 0.5})
        made.append(Sample(**{name: getattr(one, name) for name in one.__slots__} | {"generic": generic}))
    return made


def test_content_kept_is_a_ratio_of_sums_in_each_resample():
    """A ratio of sums: texts with more facts have more weight, texts without facts none."""
    generator = np.random.default_rng(0)
    there = generator.integers(0, 5, 40)
    kept = np.array([generator.integers(0, number + 1) for number in there])
    pairs = [
        (f"we saw {' '.join(f'n{n}' for n in range(all_))}", " ".join(f"n{n}" for n in range(some)))
        for all_, some in zip(there, kept, strict=True)
    ]
    statistics = Statistics(Measurements(rewrites(pairs), {"t": TEXT}), resamples=20)
    share = statistics.content_kept("m")
    assert share is not None
    assert share.value == pytest.approx(kept.sum() / there.sum())
    for weights, value in zip(statistics.bootstrap._user_weights("t"), share.draws, strict=True):
        chosen = np.repeat(np.arange(40), weights.astype(int))
        assert value == pytest.approx(kept[chosen].sum() / there[chosen].sum())


def test_content_kept_is_none_without_rewrites_or_facts():
    log = rewrites([("we will see Oslo", "see Oslo")] * 2) + rewrites([(None, "see Oslo")] * 2, "direct")
    log += rewrites([("see it", "see it")] * 2, "empty")
    statistics = Statistics(Measurements(log, {"t": TEXT}))
    kept = statistics.content_kept("m")
    assert kept is not None
    assert (kept.value, kept.low, kept.high) == (1.0, 1.0, 1.0)
    assert statistics.content_kept("direct") is None
    assert statistics.content_kept("empty") is None


def test_only_free_text_tasks_have_facts():
    with_facts = {
        name
        for name in ("LaMP_1", "LaMP_3", "LaMP_7", "rewriting")
        if task_metrics(get_task(name)).find_facts
    }
    assert with_facts == {"LaMP_7", "rewriting"}


def test_content_kept_is_in_results_table_and_report(tmp_path: Path):
    """The imitator keeps the fact "rain" of its drafts; with a finder that also finds "snow", one of two."""
    tasks = {
        "LaMP_3": FACTS["LaMP_3"],
        "LaMP_4": task_metrics(TASKS["LaMP_4"], lambda text: {"rain", "snow"}),
    }
    log = evaluate([Candidate("imitator", Imitator)], people(), TASKS, tmp_path)
    results = compute_results(log, tasks, resamples=50)
    shares = {(row["task"], row["metric"]): row["content_kept"] for row in results["rows"]}
    assert shares["LaMP_3", "MAE"] is None
    assert shares["LaMP_4", "rouge-1"] == shares["all", "primary"] == 0.5
    assert {"content_kept_low", "content_kept_high", "tokens"} <= results["rows"][0].keys()
    lines = printed(results, 200, log).splitlines()
    kept = ["imitator", "50", "%", "[50", "%,", "50", "%]", "9"]
    assert any(line.split()[:-1] == kept for line in lines)
    page = page_of(tmp_path, results, log)
    assert "<td>50 %</td><td>[50 %, 50 %]</td>" in page


def test_results_of_an_older_version_are_printed(tmp_path: Path):
    results = compute_results(evaluate([Candidate("m", Imitator)], people(), TASKS, tmp_path), FACTS)
    del results["transfer"]
    for row in results["rows"]:
        for name in ("content_kept", "content_kept_low", "content_kept_high"):
            del row[name]
    assert "seconds" in printed(results, 100, tmp_path / "samples.jsonl")
    assert "seconds" in page_of(tmp_path, results, tmp_path / "samples.jsonl")
