from __future__ import annotations

import numpy as np
import pytest

from personakit.evaluation.measurements import Measurements
from personakit.evaluation.statistics import Statistics

from .samples_of import ACCURACY, LABELS, RATING, accuracies, sample

SEVEN = [f"LaMP_{number}" for number in range(1, 8)]


def seven(gains: dict[str, float], seeds: tuple[int, ...] = (0, 1, 2), users: int = 150) -> Measurements:
    """Methods "new" and "old" on seven tasks; "new" is better by `gains` (default 0.2) in each seed."""
    generator = np.random.default_rng(0)
    values = {}
    for task in SEVEN:
        base = generator.uniform(0.2, 0.6, users)
        values["old", task, None] = base
        for seed in seeds:
            values["new", task, seed] = base + gains.get(task, 0.2) + generator.normal(0, 0.05, users)
    return accuracies(values)


def test_macro_f1_equals_scikit_learn():
    from sklearn.metrics import accuracy_score, f1_score

    generator = np.random.default_rng(0)
    golds = generator.choice(["a", "b", "c"], 80)  # "d" never occurs: it counts 0
    predictions = np.where(generator.random(80) < 0.6, golds, generator.choice(["a", "b", "c", "[4]"], 80))
    measurements = Measurements(
        (
            sample("m", "t", place, prediction=guess, gold=gold, accuracy=float(guess == gold))
            for place, (guess, gold) in enumerate(zip(predictions, golds, strict=True))
        ),
        {"t": LABELS},
    )
    statistics = Statistics(measurements)
    f1 = statistics.estimate("m", "t", "f1")
    expected = f1_score(golds, predictions, labels=list("abcd"), average="macro", zero_division=0)
    assert f1.value == pytest.approx(expected)
    assert f1.low < f1.value < f1.high
    assert statistics.estimate("m", "t", "accuracy").value == pytest.approx(
        accuracy_score(golds, predictions)
    )


def test_rmse_is_the_root_over_all_samples_not_a_mean_of_roots():
    errors = [0.0, 1.0, 1.0, 2.0]
    measurements = Measurements(
        (sample("m", "t", place, MAE=error, RMSE=error) for place, error in enumerate(errors)), {"t": RATING}
    )
    assert Statistics(measurements).estimate("m", "t", "RMSE").value == pytest.approx(np.sqrt(1.5))


def test_f1_is_recomputed_in_each_resample_not_averaged_over_users():
    """Compared with a plain loop over the same draws of users."""
    from sklearn.metrics import f1_score

    generator = np.random.default_rng(1)
    golds, guesses = generator.choice(list("abcd"), 30), generator.choice(list("abcd"), 30)
    measurements = Measurements(
        (
            sample("m", "t", place, prediction=guess, gold=gold, accuracy=0.0)
            for place, (guess, gold) in enumerate(zip(guesses, golds, strict=True))
        ),
        {"t": LABELS},
    )
    statistics = Statistics(measurements, resamples=20)
    draws = statistics.estimate("m", "t", "f1").draws
    for weights, value in zip(statistics.bootstrap._user_weights("t"), draws, strict=True):
        chosen = np.repeat(np.arange(30), weights.astype(int))
        expected = f1_score(
            golds[chosen], guesses[chosen], labels=list("abcd"), average="macro", zero_division=0
        )
        assert value == pytest.approx(expected)


def test_lower_error_is_a_positive_difference():
    measurements = Measurements(
        [sample(method, "t", place, MAE=error, RMSE=error) for method, error in (("good", 0.5), ("bad", 1.5))
         for place in range(5)],
        {"t": RATING},
    )  # fmt: skip
    statistics = Statistics(measurements)
    assert statistics.difference("good", "bad", "t", "MAE").value == pytest.approx(1.0)
    assert statistics.primary_difference("good", "bad").value == pytest.approx(0.25)  # 1 - MAE/4
    assert statistics.primary("good").value == pytest.approx(1 - 0.5 / 4)


def test_beats_if_all_four_conditions_hold():
    verdict = Statistics(seven({})).beats("new", "old")
    assert verdict.holds
    assert verdict.failed == ()
    assert set(verdict.better) == set(SEVEN)
    assert verdict.difference.value == pytest.approx(0.2, abs=0.01)


def test_beats_needs_five_tasks():
    verdict = Statistics(seven(dict.fromkeys(SEVEN[4:], 0.0))).beats("new", "old")
    assert not verdict.holds
    assert any("5 needed" in reason for reason in verdict.failed)


def test_beats_fails_with_one_worse_task():
    verdict = Statistics(seven({"LaMP_7": -0.1})).beats("new", "old")
    assert not verdict.holds
    assert verdict.failed == ("significantly worse on LaMP_7",)
    assert len(verdict.better) == 6


def test_beats_needs_a_gain_with_every_seed():
    measurements = accuracies(
        {("old", task, None): [0.5] * 50 for task in SEVEN}
        | {("new", task, seed): [0.7 if seed else 0.49] * 50 for task in SEVEN for seed in range(5)}
    )
    verdict = Statistics(measurements).beats("new", "old")
    assert not verdict.holds
    assert "no gain with seed 0" in verdict.failed


def test_equal_methods_do_not_beat_each_other():
    values = np.random.default_rng(6).random(100)
    verdict = Statistics(
        accuracies({(method, task, None): values for method in "ab" for task in SEVEN})
    ).beats("a", "b")
    assert not verdict.holds
    assert verdict.better == verdict.worse == ()


@pytest.mark.parametrize(
    ("wrong", "holds"), [(0.52, True), (0.45, True), (0.58, False), (0.81, False)], ids=str
)
def test_wrong_user(wrong: float, holds: bool):
    """With an empty history 0.5 and the right one 0.8, the wrong one must gain less than 0.06."""
    base = np.random.default_rng(7).normal(0, 0.1, 200)
    levels = {"right": 0.8, "wrong": wrong, "empty": 0.5}
    measurements = accuracies({(name, "t", None): base + level for name, level in levels.items()})
    verdict = Statistics(measurements).wrong_user("right", "wrong", "empty")
    assert verdict.holds is holds
    assert bool(verdict.failed) is not holds
    assert verdict.share.value == pytest.approx((wrong - 0.5) / 0.3)


def test_the_share_of_a_gap_closed():
    base = np.random.default_rng(8).normal(0, 0.1, 200)
    measurements = accuracies(
        {(name, "t", None): base + level for name, level in {"low": 0.2, "mid": 0.5, "top": 0.8}.items()}
    )
    gap = Statistics(measurements).gap_closed("mid", "low", "top")
    assert (gap.share.value, gap.share.low, gap.share.high) == pytest.approx((0.5, 0.5, 0.5))
    assert gap.lead.value == pytest.approx(0.6)


def test_an_oracle_that_does_not_lead_has_no_share():
    base = np.random.default_rng(8).normal(0, 0.1, 60)
    uncertain = base + 0.2 + np.tile([0.5, -0.45], 30)  # better than "low" by .025 in the mean
    values = {"low": base + 0.2, "mid": base + 0.22, "best": base + 0.9, "top": base + 0.8, "luck": uncertain}
    statistics = Statistics(accuracies({(name, "t", None): some for name, some in values.items()}))
    behind = statistics.gap_closed("best", "low", "top")
    assert behind.lead.low > 0 > behind.ahead.value
    unclear = statistics.gap_closed("mid", "low", "luck")
    assert unclear.lead.value > 0 > unclear.lead.low
    for gap in (behind, unclear):
        assert np.isnan([gap.share.value, gap.share.low, gap.share.high]).all()


def test_failed_answers_are_excluded_from_scores_and_differences():
    samples = [sample("a", "t", place, accuracy=1.0) for place in range(4)]
    samples += [sample("b", "t", place, accuracy=0.5) for place in range(3)]
    samples.append(sample("b", "t", 3, error="the server is gone"))
    measurements = Measurements(samples, {"t": ACCURACY})
    statistics = Statistics(measurements)
    assert statistics.estimate("b", "t", "accuracy").value == pytest.approx(0.5)
    assert statistics.difference("a", "b", "t", "accuracy").value == pytest.approx(0.5)
    assert measurements.costs("b", ["t"]).errors == 1


def test_method_without_answers_has_no_value():
    samples = [sample("a", "t", 0, accuracy=1.0), sample("b", "t", 0, error="gone")]
    statistics = Statistics(Measurements(samples, {"t": ACCURACY}))
    assert np.isnan(statistics.estimate("b", "t", "accuracy").value)
