from __future__ import annotations

import numpy as np
import pytest

from personakit.evaluation.bootstrap import Bootstrap, Estimate, SampleSums, combine, holm, ratio
from personakit.evaluation.metrics import ContentKept, MacroF1, Mean, Metric, RootMeanSquare
from personakit.evaluation.statistics import Statistics

from .samples_of import accuracies


def test_holm_equals_the_values_computed_by_hand():
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    # sorted: d .005 x4 = .02, a .01 x3 = .03, c .03 x2 = .06, b .04 x1 -> not below c's
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert list(adjusted) == ["a", "b", "c", "d"]


def test_holm_never_exceeds_one():
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_p_value_of_no_difference_is_one_and_of_a_clear_one_is_the_smallest_possible():
    assert Estimate(0.0, np.zeros(999)).p == 1.0
    assert Estimate(1.0, np.ones(999)).p == pytest.approx(2 / 1000)
    assert Estimate(-1.0, -np.ones(999)).p == pytest.approx(2 / 1000)


@pytest.mark.slow
def test_coverage_with_few_skewed_users_is_close_to_nominal():
    """`benchmarks/coverage.py` has the full table; percentile intervals miss one in ten here."""
    users, generator = 20, np.random.default_rng(20)
    covered = plain = 0
    for number in range(400):
        gains = np.repeat(generator.exponential(0.3, users), 1) - 0.2
        statistics = Statistics(accuracies({("m", "t", None): gains}), resamples=400, seed=number)
        estimate = statistics.estimate("m", "t", "accuracy")
        covered += estimate.low <= 0.1 <= estimate.high
        low, high = np.percentile(estimate.draws, [2.5, 97.5])
        plain += low <= 0.1 <= high
    assert 0.92 <= covered / 400 <= 0.98
    assert covered > plain


def test_p_value_is_consistent_with_the_interval():
    generator = np.random.default_rng(3)
    inside = 0
    for shift in np.linspace(0.0, 0.6, 40):
        values = generator.exponential(0.5, 25) - 0.5 + shift
        estimate = Statistics(accuracies({("m", "t", None): values})).estimate("m", "t", "accuracy")
        if min(abs(estimate.low), abs(estimate.high)) > 0.01:  # otherwise the last resample decides
            assert (estimate.p < 0.05) == (not estimate.low <= 0 <= estimate.high)
            inside += estimate.p >= 0.05
    assert 0 < inside < 40


def test_interval_is_wider_towards_the_long_tail():
    values = np.random.default_rng(1).exponential(size=30)
    few = Statistics(accuracies({("m", "t", None): values})).estimate("m", "t", "accuracy")
    low, high = np.percentile(few.draws, [2.5, 97.5])
    assert few.high - few.low > 1.03 * (high - low)
    assert few.high - high > low - few.low


@pytest.mark.parametrize(
    "metric", [Mean("x"), Mean("x", optional=True), RootMeanSquare("x"), ContentKept(), MacroF1(("a", "b"))]
)
@pytest.mark.parametrize("shared", [False, True])
def test_standard_error_equals_the_jackknife(metric: Metric, shared: bool):
    users, samples, draw = 80, 400, np.random.default_rng(0)
    of_user = np.concatenate([np.arange(users), draw.integers(users, size=samples - users)])
    parts = draw.integers(1, 5, size=(1, samples, metric.width)).astype(float)
    measured = SampleSums("t", metric, (None,), of_user, parts, np.ones((1, samples), dtype=bool))
    tasks = {"t": [str(user) for user in range(users)]}
    if shared:
        tasks["another"] = [str(user) for user in range(users // 2, 2 * users)]
    estimate = Bootstrap(tasks, resamples=2000).estimate(measured)
    without = [metric.finish(parts[0][of_user != user].sum(axis=0)) for user in range(users)]
    jackknife = np.sqrt((users - 1) / users * ((without - np.mean(without)) ** 2).sum())
    error, _ = estimate._studentized
    assert error == pytest.approx(jackknife, rel=0.02)
    assert estimate.draws.std() == pytest.approx(error, rel=0.1)
    halved = ratio(estimate - combine(lambda x: x / 2, [estimate]), estimate)
    assert [halved.low, halved.value, halved.high] == pytest.approx([0.5] * 3)


def test_one_user_gives_no_interval():
    bootstrap = Bootstrap({"t": ["ada"]}, resamples=50)
    parts = np.array([[[1.0, 1.0], [0.0, 1.0]]])
    sums = SampleSums(
        "t", Mean("accuracy"), (None,), np.array([0, 0]), parts, np.ones((1, 2), dtype=np.bool_)
    )
    estimate = bootstrap.estimate(sums)
    assert estimate.value == 0.5
    assert np.isnan([estimate.low, estimate.high]).all()
    assert estimate.p == 1.0


def test_interval_is_finite_if_only_one_user_differs():
    estimate = Statistics(accuracies({("m", "t", None): [1.0] + [0.0] * 29})).estimate("m", "t", "accuracy")
    assert estimate.low < 0 < estimate.high < 0.25
    assert estimate.p > 0.05


def test_interval_of_a_mean_has_the_theoretical_width():
    values = np.random.default_rng(1).normal(size=400)
    estimate = Statistics(accuracies({("m", "t", None): values})).estimate("m", "t", "accuracy")
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.08)


def test_samples_of_one_user_are_drawn_together():
    """Ten copies of each user's sample contain no more information than one."""
    values = np.random.default_rng(2).normal(size=50)
    once = Statistics(accuracies({("m", "t", None): values})).estimate("m", "t", "accuracy")
    from personakit.evaluation.measurements import Measurements

    from .samples_of import ACCURACY, sample

    copies = Measurements(
        (
            sample("m", "t", f"{user}-{copy}", user=str(user), accuracy=value)
            for user, value in enumerate(values)
            for copy in range(10)
        ),
        {"t": ACCURACY},
    )
    many = Statistics(copies).estimate("m", "t", "accuracy")
    assert len(copies.users["t"]) == 50
    assert many.high - many.low == pytest.approx(once.high - once.low, rel=0.1)


def test_differences_between_seeds_widen_the_interval():
    same = {("m", "t", seed): [0.5] * 20 for seed in range(5)}
    spread = {("m", "t", seed): [0.3 + 0.1 * seed] * 20 for seed in range(5)}
    still = Statistics(accuracies(same)).estimate("m", "t", "accuracy")
    moving = Statistics(accuracies(spread)).estimate("m", "t", "accuracy")
    assert still.low == still.high == pytest.approx(0.5)
    assert moving.value == pytest.approx(0.5)
    assert moving.low < 0.42
    assert moving.high > 0.58


def test_pairing_cancels_shared_user_effects():
    difficulty = np.random.default_rng(3).normal(size=100)
    measurements = accuracies({("a", "t", None): difficulty + 0.1, ("b", "t", None): difficulty})
    difference = Statistics(measurements).difference("a", "b", "t", "accuracy")
    assert difference.low == pytest.approx(0.1)
    assert difference.high == pytest.approx(0.1)


def test_a_task_keeps_its_interval_when_another_is_added():
    values = np.random.default_rng(4).normal(size=40)
    alone = Statistics(accuracies({("m", "t", None): values}))
    beside = Statistics(accuracies({("m", "t", None): values, ("m", "s", None): values[::-1]}))
    assert alone.estimate("m", "t", "accuracy").low == beside.estimate("m", "t", "accuracy").low


def test_users_in_several_tasks_are_drawn_jointly():
    joint = Bootstrap({"s": ["x", "y", "z"], "t": ["z", "y", "x"]}, resamples=50)
    apart = Bootstrap({"s": ["x", "y"], "t": ["v", "w"]})
    assert joint.shared
    assert not apart.shared
    assert (joint._user_weights("s") == joint._user_weights("t")[:, ::-1]).all()


def test_ratio_interval_is_nan_if_the_denominator_may_be_zero():
    generator = np.random.default_rng(5)
    whole = Estimate(1.0, generator.normal(1.0, 0.1, 2000))
    half = Estimate(0.5, 0.5 * whole.draws)
    share = ratio(half, whole)
    assert (share.value, share.low, share.high) == pytest.approx((0.5, 0.5, 0.5))
    nothing = ratio(half, Estimate(0.05, generator.normal(0.05, 0.1, 2000)))
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()
