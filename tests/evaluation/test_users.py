from __future__ import annotations

import csv
from pathlib import Path

import pytest

from personakit.evaluation.candidates import Candidate
from personakit.evaluation.runner import evaluate
from personakit.evaluation.users import user_gains, user_sentences, users_document, write_users

from .people import Imitator
from .test_runner import TASKS, people


def test_users_with_losses_are_counted_and_listed(tmp_path: Path):
    rows = [Candidate("generic", Imitator, "empty"), Candidate("own", Imitator)]
    log = evaluate(rows, {"LaMP_3": people()["LaMP_3"]}, TASKS, tmp_path)
    gains = user_gains(log, [("own", "generic")])
    # the gold is 4: every second user rates 4 (a gain of a quarter of the scale), the others 2 (a loss)
    assert [round(one.gain, 9) for one in gains] == [-0.25] * 5 + [0.25] * 5
    (document,) = users_document(gains)
    assert (document["users"], document["better"], document["worse"]) == (10, 5, 5)
    assert [one["user"] for one in document["worst"]] == ["user0", "user2", "user4", "user6", "user8"]
    (sentence,) = user_sentences([document])
    assert "5 of 10 users gain, 5 lose (user0 -0.25" in sentence


def test_all_users_are_listed_over_their_tasks_and_seeds(tmp_path: Path):
    rows = [Candidate("generic", Imitator, "empty")]
    rows += [Candidate("own", Imitator, seed=seed) for seed in (0, 1)]
    log = evaluate(rows, people(4), TASKS, tmp_path)
    write_users(tmp_path / "users.csv", user_gains(log, [("own", "generic")]))
    with (tmp_path / "users.csv").open(newline="") as handle:
        listed = list(csv.DictReader(handle))
    assert sorted(one["user"] for one in listed) == [f"user{number}" for number in range(4)]
    assert {one["queries"] for one in listed} == {"2"}
    assert sum(float(one["gain"]) for one in listed) == pytest.approx(
        sum(one.gain for one in user_gains(log, [("own", "generic")])), abs=1e-5
    )
