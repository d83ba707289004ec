from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

import pytest

from personakit.errors import UserError
from personakit.evaluation.candidates import Candidate
from personakit.evaluation.measurements import task_metrics
from personakit.evaluation.results import Claims, compute_results, record_test_look, write_results
from personakit.evaluation.runner import evaluate, write_prediction_files
from personakit.evaluation.samples import read_samples
from personakit.records import Answer, Example, Profile, Query
from personakit.tasks import get_task
from personakit.tasks.predictions import score_files

from .people import Imitator, headline, rating

TASKS = {name: get_task(name) for name in ("LaMP_3", "LaMP_4")}
FACTS = {name: task_metrics(task) for name, task in TASKS.items()}
CANDIDATES = [
    Candidate("imitator", Imitator, seed=0),
    Candidate("imitator", Imitator, seed=1),
    Candidate("imitator, empty history", Imitator, profiles="empty"),
    Candidate("imitator, another user", Imitator, profiles="other"),
]
CLAIMS = Claims(
    compared=[("imitator", "imitator, empty history")],
    wrong_user=[("imitator", "imitator, another user", "imitator, empty history")],
)


def people(count: int = 10) -> dict[str, list[Example]]:
    return {
        "LaMP_3": [rating(number, scores=("4" if number % 2 else "2",)) for number in range(count)],
        "LaMP_4": [headline(number) for number in range(count)],
    }


def test_every_answer_is_logged(tmp_path: Path):
    log = evaluate(CANDIDATES, people(), TASKS, tmp_path, batch_size=4)
    samples = list(read_samples(log))
    assert len(samples) == len(CANDIDATES) * 20
    first = samples[0]
    assert (first.method, first.seed, first.task, first.query_id) == ("imitator", 0, "LaMP_3", "3000")
    assert first.scores == {"MAE": 2.0, "RMSE": 2.0}
    assert first.utility == 0.5
    assert first.profile_of == first.user_id == "user0"
    assert first.context["items"] == [{"id": "r0", "text": "review 0 · 2"}]
    for sample in samples:
        if sample.method.endswith("empty history"):
            assert (sample.profile_of, sample.profile_items) == (None, 0)
        if sample.method.endswith("another user"):
            assert sample.profile_of not in (None, sample.user_id)
            assert sample.task == "LaMP_3" or sample.prediction == f"{sample.profile_of} reports rain"


def test_rows_equal_the_tasks_scores(tmp_path: Path):
    log = evaluate(CANDIDATES, people(), TASKS, tmp_path, batch_size=4)
    results = compute_results(log, FACTS)
    for row in results["rows"]:
        if row["task"] == "all":
            continue
        passes: dict[int | None, tuple[list[str], list[str]]] = {}
        for sample in read_samples(log):
            if (sample.method, sample.task) == (row["method"], row["task"]):
                predictions, golds = passes.setdefault(sample.seed, ([], []))
                predictions.append(sample.prediction)
                golds.append(sample.gold or "")
        scores = [TASKS[row["task"]].score(*texts)[row["metric"]] for texts in passes.values()]
        assert row["value"] == pytest.approx(sum(scores) / len(scores), abs=1e-6)
        assert row["low"] <= row["value"] <= row["high"]
        assert (row["users"], row["examples"], row["seeds"]) == (10, 10, len(passes))


def test_the_primary_row_is_the_mean_of_the_tasks_in_the_unit_interval(tmp_path: Path):
    results = compute_results(evaluate(CANDIDATES, people(), TASKS, tmp_path), FACTS)
    value = {(row["method"], row["task"], row["metric"]): row["value"] for row in results["rows"]}
    by_hand = (1 - value["imitator", "LaMP_3", "MAE"] / 4 + value["imitator", "LaMP_4", "rouge-1"]) / 2
    assert value["imitator", "all", "primary"] == pytest.approx(by_hand, abs=1e-6)


def test_results_have_the_documented_format(tmp_path: Path):
    results = compute_results(evaluate(CANDIDATES, people(), TASKS, tmp_path), FACTS, CLAIMS)
    row = {"method", "task", "metric", "value", "low", "high", "users", "examples", "context_tokens"}
    assert all(row <= set(one) for one in results["rows"])
    comparison = {"method", "against", "task", "metric", "difference", "low", "high"}
    assert all(set(one) == comparison for one in results["comparisons"])
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    (wrong_user,) = results["wrong_user"]
    assert set(wrong_user) >= {"right", "wrong", "empty", "holds", "failed", "share"}
    (beats,) = results["beats"]
    assert not beats["holds"]
    assert any("of 2 tasks" in reason for reason in beats["failed"])


def test_comparisons_with_missing_rows_are_skipped(tmp_path: Path):
    results = compute_results(
        evaluate(CANDIDATES[:1], people(), TASKS, tmp_path), FACTS, Claims([("imitator", "oracle")])
    )
    assert results["comparisons"] == results["beats"] == []


def test_a_mean_over_fewer_tasks_is_not_shown(tmp_path: Path):
    everything = people()
    evaluate(CANDIDATES[:1], everything, TASKS, tmp_path)
    other = evaluate(CANDIDATES[2:3], {"LaMP_3": everything["LaMP_3"]}, TASKS, tmp_path / "other")
    with (tmp_path / "samples.jsonl").open("ab") as log:
        log.write(other.read_bytes())
    results = compute_results(
        tmp_path / "samples.jsonl", FACTS, Claims([("imitator", "imitator, empty history")])
    )
    assert [row["method"] for row in results["rows"] if row["task"] == "all"] == ["imitator"]
    assert [one["task"] for one in results["comparisons"]] == ["LaMP_3", "LaMP_3"]


class Unsteady(Imitator):
    """Fails on every third user."""

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        return [
            Answer("", error="the server is gone") if int(query.user_id[4:]) % 3 == 0 else answer
            for query, answer in zip(queries, super().respond(queries, profiles), strict=True)
        ]


def test_failed_answers_are_counted_and_not_scored(tmp_path: Path):
    log = evaluate([Candidate("unsteady", Unsteady)], people(), TASKS, tmp_path)
    rows = {row["task"]: row for row in compute_results(log, FACTS)["rows"]}
    assert rows["LaMP_3"]["errors"] == 4
    assert all(sample.scores is None for sample in read_samples(log) if sample.error)
    assert rows["LaMP_4"]["value"] == pytest.approx(
        TASKS["LaMP_4"].score(
            [f"user{number} reports rain" for number in range(10) if number % 3],
            [headline(number).query.gold or "" for number in range(10) if number % 3],
        )["rouge-L"],
        abs=1e-6,
    )


def test_unpaired_surrogate_is_replaced(tmp_path: Path):
    class Broken(Imitator):
        def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
            return [Answer("rain \ud83c", generic="\udf27", trace={"plan": "\ud83c"}) for _ in queries]

    log = evaluate([Candidate("m", Broken)], people(2), TASKS, tmp_path)
    assert {sample.prediction for sample in read_samples(log)} == {"rain ?"}


def test_empty_profiles_are_counted(tmp_path: Path):
    examples = {"LaMP_3": [rating(0, scores=()), rating(1), rating(2)]}
    log = evaluate([Candidate("m", Imitator)], examples, TASKS, tmp_path)
    assert compute_results(log, FACTS)["rows"][0]["empty_profiles"] == 1


def test_a_split_without_golds_is_answered_but_not_scored(tmp_path: Path):
    examples = {"LaMP_3": [rating(number, gold=None) for number in range(3)]}
    log = evaluate([Candidate("m", Imitator)], examples, TASKS, tmp_path)
    assert len(list(read_samples(log))) == 3
    with pytest.raises(UserError, match="no sample"):
        compute_results(log, FACTS)


def test_existing_evaluation_is_not_overwritten(tmp_path: Path):
    evaluate(CANDIDATES[:1], people(2), TASKS, tmp_path)
    with pytest.raises(UserError, match=r"samples\.jsonl") as caught:
        evaluate(CANDIDATES[:1], people(2), TASKS, tmp_path)
    assert "--resume" in caught.value.hint


def test_resuming_with_another_plan_is_an_error(tmp_path: Path):
    evaluate(CANDIDATES[:1], people(4), TASKS, tmp_path)
    with pytest.raises(UserError, match="expected"):
        evaluate(CANDIDATES[2:3], people(4), TASKS, tmp_path, resume=True)


def test_duplicate_row_names_are_an_error(tmp_path: Path):
    with pytest.raises(UserError, match="two candidates"):
        evaluate([CANDIDATES[0], CANDIDATES[0]], people(2), TASKS, tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 700, 5_000, 12_345])
def test_resuming_a_log_cut_anywhere_ends_with_the_same_bytes(tmp_path: Path, kept: int):
    whole = evaluate(CANDIDATES, people(), TASKS, tmp_path / "whole", batch_size=4)
    cut = tmp_path / "cut" / "samples.jsonl"
    cut.parent.mkdir()
    cut.write_bytes(whole.read_bytes()[:kept])
    calls: list[tuple[int, int]] = []
    evaluate(
        CANDIDATES,
        people(),
        TASKS,
        cut.parent,
        batch_size=4,
        resume=True,
        progress=lambda *at: calls.append(at),
    )
    assert cut.read_bytes() == whole.read_bytes()
    assert calls[-1] == (80, 80)


def test_resuming_a_finished_evaluation_opens_no_candidate(tmp_path: Path):
    def silent() -> Imitator:
        raise AssertionError("opened again")

    log = evaluate([Candidate("m", Imitator)], people(4), TASKS, tmp_path)
    before = log.read_bytes()
    evaluate([Candidate("m", silent)], people(4), TASKS, tmp_path, resume=True)
    with pytest.raises(UserError, match="has more than"):
        evaluate([Candidate("m", silent)], {"LaMP_3": people(4)["LaMP_3"]}, TASKS, tmp_path, resume=True)
    assert log.read_bytes() == before


def test_candidate_is_released_before_the_next_is_opened(tmp_path: Path):
    opened: list[weakref.ref[Imitator]] = []

    def only() -> Imitator:
        assert [one() for one in opened] == [None] * len(opened)
        personalizer = Imitator()
        opened.append(weakref.ref(personalizer))
        return personalizer

    evaluate([Candidate(name, only) for name in "abc"], people(), TASKS, tmp_path, batch_size=4)
    assert len(opened) == 3  # each is opened once


SLOW = """
    import sys, time
    from pathlib import Path
    from tests_evaluation import test_runner as t
    class Slow(t.Imitator):
        def respond(self, queries, profiles):
            time.sleep(0.02)
            return super().respond(queries, profiles)
    t.finish(Path(sys.argv[1]), Slow, resume=True)
"""


def finish(folder: Path, personalizer: type[Imitator], *, resume: bool) -> None:
    candidates = [
        Candidate(one.method, personalizer, one.profiles, one.seed) for one in CANDIDATES
    ]  # the same rows at another speed
    log = evaluate(candidates, people(40), TASKS, folder, batch_size=2, resume=resume)
    write_results(folder, compute_results(log, FACTS, CLAIMS, resamples=200))


def test_killed_and_resumed_results_are_identical(tmp_path: Path):
    finish(tmp_path / "alone", Imitator, resume=False)
    script = tmp_path / "slow.py"
    script.write_text(textwrap.dedent(SLOW))
    package = tmp_path / "tests_evaluation"
    package.symlink_to(Path(__file__).parent)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"}
    log = tmp_path / "killed" / "samples.jsonl"
    for grown in (2_000, 20_000, 60_000):
        process = subprocess.Popen([sys.executable, script, log.parent], env=environment)
        deadline = time.monotonic() + 60
        while (not log.exists() or log.stat().st_size < grown) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.003)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (log.parent / "results.json").exists()
    finish(log.parent, Imitator, resume=True)
    alone = (tmp_path / "alone" / "results.json").read_bytes()
    assert (log.parent / "results.json").read_bytes() == alone


def test_prediction_files_have_lamps_format(tmp_path: Path):
    log = evaluate(CANDIDATES[:2], people(), TASKS, tmp_path)
    paths = write_prediction_files(log, tmp_path / "predictions")
    names = [str(path.relative_to(tmp_path / "predictions")) for path in paths]
    assert names == [f"imitator-seed{seed}/{task}.json" for seed in (0, 1) for task in TASKS]
    golds = tmp_path / "golds.json"
    outputs = [{"id": one.query.id, "output": one.query.gold} for one in people()["LaMP_3"]]
    golds.write_text(json.dumps({"task": "LaMP_3", "golds": outputs}))
    row = next(one for one in compute_results(log, FACTS)["rows"] if one["metric"] == "MAE")
    assert score_files(paths[0], golds).metrics["MAE"] == pytest.approx(row["value"])


def test_a_failed_answer_is_missing_in_the_prediction_file(tmp_path: Path):
    log = evaluate([Candidate("unsteady", Unsteady)], people(), TASKS, tmp_path)
    document = json.loads(write_prediction_files(log, tmp_path)[0].read_text())
    assert [one["id"] for one in document["golds"]] == ["3001", "3002", "3004", "3005", "3007", "3008"]


def test_evaluations_on_test_are_recorded(tmp_path: Path):
    look = {"command": "personakit eval lamp", "tasks": ["LaMP_3"], "methods": ["generic"]}
    assert record_test_look(tmp_path, **look) == 1
    assert record_test_look(tmp_path, **look) == 2
    lines = (tmp_path / "test_looks.jsonl").read_text().splitlines()
    assert [json.loads(line)["tasks"] for line in lines] == [["LaMP_3"]] * 2
