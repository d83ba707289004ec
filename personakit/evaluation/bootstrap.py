"""The paired, studentized bootstrap over users and training seeds, vectorized over resamples.

A resample draws users with replacement (all samples of a user stay together) and, for methods with several
training seeds, seeds with replacement. All methods and metrics of one `Bootstrap` share these draws, which
makes differences paired.

Intervals are bootstrap-t intervals (Efron and Tibshirani 1993, section 12.5): the distance of each resample
from the estimate is divided by the resample's own standard error, and the quantiles of these ratios are
multiplied by the estimate's standard error. Standard errors are infinitesimal jackknives (Efron 1982), from
the derivative of the estimate by the weight of each user and seed. SampleSums coverage
(`benchmarks/coverage.py`) is closer to 95 % than with BCa or percentile intervals. `scipy.stats.bootstrap`
offers neither studentized intervals nor draws shared by several estimates.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personakit.evaluation.metrics import Floats, Mean, Metric, Scored

#: Default number of resamples.
RESAMPLES = 2000
#: Confidence level of intervals.
LEVEL = 0.95
#: Minimum standard error of a resample, as a fraction of the estimate's: it is 0 if a resample happens to
#: draw only users without a difference.
LEAST_ERROR = 0.25
#: Standard errors below this are rounding errors.
_ROUNDING = 1e-9
#: Relative step of numerical derivatives.
_STEP = 1e-4
#: Resamples per block, whose influences fit into a core's cache.
_BLOCK = 64
_USERS, _SEEDS = "users", "seeds"


@dataclass(frozen=True, slots=True)
class Influence:
    """The derivative of an estimate by the weight of each of n users or seeds, in the sample and R resamples.

    The derivative by the weight of unit i is `slopes[r] @ parts[i]`, with `slopes` [R + 1, K] (row 0: the
    original sample) and `parts` [n, K]; `weights` [R, n] counts how often each resample has drawn each unit.
    """

    slopes: Floats
    parts: Floats
    weights: Floats

    def variance(self) -> Floats:
        """Return the estimate's variance in the sample and in each resample, [R + 1]."""
        count = len(self.parts)
        if count < 2:
            return np.zeros(len(self.slopes))
        parts, buffer = np.ascontiguousarray(self.parts.T), np.empty((_BLOCK, count))
        sums = [np.square(self.slopes[:1] @ parts).sum(axis=1)]
        for start in range(0, len(self.weights), _BLOCK):
            weights = self.weights[start : start + _BLOCK]
            influences = buffer[: len(weights)]
            with np.errstate(invalid="ignore"):  # nan in resamples that have no value, such as a share of 0
                np.matmul(self.slopes[start + 1 : start + 1 + len(weights)], parts, out=influences)
            sums.append(np.einsum("rn,rn->r", weights, np.square(influences, out=influences)))
        return np.concatenate(sums) / (count * (count - 1))


@dataclass(frozen=True, eq=False)
class Estimate:
    """A value and its bootstrap draws; nan if it cannot be computed.

    The keys of `influences` name the resampled units: the users of a task, or the seeds of a method.
    """

    value: float
    draws: Floats
    influences: Mapping[str, Influence] = field(default_factory=dict)

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self._end((1 + LEVEL) / 2)

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self._end((1 - LEVEL) / 2)

    @property
    def p(self) -> float:
        """Two-sided p-value of "the value is 0", at least 2 / (resamples + 1).

        It is consistent with the interval: below 0.05 if the interval excludes 0.
        """
        error, distances = self._studentized
        if not distances.size:
            return 1.0
        if error < _ROUNDING:
            tail = len(distances) if abs(self.value) < _ROUNDING else 0
        else:
            here = self.value / error
            tail = min((distances <= here).sum(), (distances >= here).sum())
        return float(min(1.0, 2 * (tail + 1) / (distances.size + 1)))

    def __sub__(self, other: Estimate) -> Estimate:
        """Paired difference of two estimates of one `Bootstrap`."""
        return combine(np.subtract, [self, other])

    def _end(self, share: float) -> float:
        error, distances = self._studentized
        if not distances.size:
            return float("nan")
        return float(self.value - error * np.quantile(distances, share))

    @cached_property
    def _studentized(self) -> tuple[float, Floats]:
        """Return the standard error, and each resample's studentized distance from the value."""
        if any(len(each.parts) == 1 for each in self.influences.values()):
            return 0.0, np.empty(0)  # one user says nothing about others: no interval
        none = np.zeros(len(self.draws) + 1)
        variances = sum((each.variance() for each in self.influences.values()), none)
        errors = np.sqrt(variances)
        if errors[0] < _ROUNDING:
            return 0.0, np.zeros(np.isfinite(self.draws).sum())
        distances = (self.draws - self.value) / np.maximum(errors[1:], LEAST_ERROR * errors[0])
        return float(errors[0]), distances[np.isfinite(distances)]


def combine(function: Callable[..., Any], estimates: Sequence[Estimate]) -> Estimate:
    """Apply a smooth function, which works on numbers and elementwise on arrays, to paired estimates."""
    every = [np.append(each.value, each.draws) for each in estimates]
    terms: dict[str, list[tuple[Floats, Influence]]] = {}
    for place, estimate in enumerate(estimates):
        step = _STEP * np.where(every[place] == 0, 1, np.abs(every[place]))
        up, down = (function(*every[:place], every[place] + by, *every[place + 1 :]) for by in (step, -step))
        for name, influence in estimate.influences.items():
            terms.setdefault(name, []).append(((up - down) / (2 * step), influence))
    return Estimate(
        float(function(*(estimate.value for estimate in estimates))),
        function(*(estimate.draws for estimate in estimates)),
        {name: _sum(of) for name, of in terms.items()},
    )


def _sum(terms: Sequence[tuple[Floats, Influence]]) -> Influence:
    """Add influences of the same units, each multiplied by its derivative [R + 1]."""
    return Influence(
        np.concatenate([derivative[:, None] * each.slopes for derivative, each in terms], axis=1),
        np.concatenate([each.parts for _, each in terms], axis=1),
        terms[0][1].weights,
    )


def ratio(above: Estimate, below: Estimate) -> Estimate:
    """Return the ratio of two paired estimates, with its interval.

    A share needs something to be a share of: unless the denominator's interval is above 0, value and draws
    are nan. So they are if more draws than an interval's tail have a denominator of 0 or less, where the
    interval of the ratio is unbounded.
    """
    sound = below.draws > 0
    if not below.low > 0 or np.mean(~sound) > (1 - LEVEL) / 2:
        return Estimate(float("nan"), np.full_like(below.draws, np.nan))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = combine(np.divide, [above, below])
    return Estimate(share.value, np.where(sound, share.draws, np.nan), share.influences)


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of paired estimates, for example over tasks."""
    if len(estimates) == 1:
        return estimates[0]
    return combine(lambda *values: sum(values) / len(values), estimates)


@dataclass(frozen=True)
class SampleSums:
    """What each sample adds to the sums of one metric, for one method and task.

    `parts` [seeds, samples, C] are the summands (0 if not answered), `answered` [seeds, samples] tells which
    samples have an answer, `users` [samples] are indices into the task's list of users, `seeds` are the
    training seeds in order ((None,) for an untrained method).
    """

    task: str
    metric: Metric
    seeds: tuple[int | None, ...]
    users: NDArray[np.int64]
    parts: Floats
    answered: NDArray[np.bool_]

    @cached_property
    def complete(self) -> bool:
        """True if every seed has answered every sample."""
        return bool(self.answered.all())

    def per_seed(self) -> Floats:
        """Return the metric of each seed, shape [seeds]."""
        return self.metric.finish(self.parts.sum(axis=1))

    def restricted(self, keep: NDArray[np.bool_]) -> SampleSums:
        """Return the sums over the samples where `keep` [samples] is true."""
        return SampleSums(
            self.task,
            self.metric,
            self.seeds,
            self.users,
            self.parts * keep[None, :, None],
            self.answered & keep[None, :],
        )


class Bootstrap:
    """Draws of users and seeds, shared by all estimates.

    `users_by_task` lists each task's users. If no two tasks share a user, tasks are resampled independently,
    so a task's interval does not depend on the other tasks; otherwise all tasks follow one draw of users.
    """

    def __init__(
        self, users_by_task: Mapping[str, Sequence[str]], *, resamples: int = RESAMPLES, seed: int = 0
    ) -> None:
        self.resamples, self.seed = resamples, seed
        self.users = {task: tuple(dict.fromkeys(users)) for task, users in users_by_task.items()}
        everyone = tuple(dict.fromkeys(user for users in self.users.values() for user in users))
        self.shared = len(everyone) < sum(map(len, self.users.values()))
        self.user_count = len(everyone)
        self._weights: dict[str, Floats] = {}
        self._seed_weights: dict[tuple[int | None, ...], Floats] = {}
        self._columns: dict[str, list[int]] = {}
        if self.shared:
            self._joint = self._draw(_USERS, len(everyone))
            column = {user: index for index, user in enumerate(everyone)}
            for task, users in self.users.items():
                self._columns[task] = [column[user] for user in users]
                self._weights[task] = self._joint[:, self._columns[task]]

    def estimate(self, samples: SampleSums) -> Estimate:
        """Return the metric averaged over seeds, with its draws."""
        users = len(self.users[samples.task])
        seeds, _, width = samples.parts.shape
        sums = np.zeros((users, seeds, width))
        np.add.at(sums, samples.users, samples.parts.transpose(1, 0, 2))
        drawn = (sums.reshape(users, -1).T @ self._user_weights(samples.task).T).T  # faster
        drawn = np.concatenate([sums.sum(axis=0)[None], drawn.reshape(self.resamples, seeds, width)])
        shares = np.concatenate([np.full((1, seeds), 1 / seeds), self._weights_of_seeds(samples.seeds)])
        per_seed = samples.metric.finish(drawn)
        figures = (per_seed * shares).sum(axis=1)
        slopes = users * shares[:, :, None] * samples.metric.slopes(drawn)
        influences = self._influence_of_users(samples.task, slopes.reshape(-1, seeds * width), sums)
        if seeds > 1:
            weights = seeds * self._weights_of_seeds(samples.seeds)
            deviations = per_seed - figures[:, None]
            influences[f"{_SEEDS} {samples.seeds}"] = Influence(deviations, np.eye(seeds), weights)
        return Estimate(float(samples.per_seed().mean()), figures[1:], influences)

    def _influence_of_users(self, task: str, slopes: Floats, sums: Floats) -> dict[str, Influence]:
        """Return the influence of each user on the metric; `sums` is [users, seeds, C]."""
        parts = sums.reshape(len(sums), -1)
        if not self.shared:
            return {f"{_USERS} of {task}": Influence(slopes, parts, self._user_weights(task))}
        everyone = np.zeros((self.user_count, parts.shape[1]))  # users of other tasks have no influence
        everyone[self._columns[task]] = parts
        scale = self.user_count / len(sums)
        return {_USERS: Influence(scale * slopes, everyone, self._joint)}

    def _user_weights(self, task: str) -> Floats:
        if task not in self._weights:
            self._weights[task] = self._draw(f"users of {task}", len(self.users[task]))
        return self._weights[task]

    def _weights_of_seeds(self, seeds: tuple[int | None, ...]) -> Floats:
        if seeds not in self._seed_weights:
            self._seed_weights[seeds] = self._draw(f"seeds {seeds}", len(seeds)) / len(seeds)
        return self._seed_weights[seeds]

    def _draw(self, name: str, size: int) -> Floats:
        """Return how often each of `size` units is drawn, [resamples, size], determined by `name`."""
        generator = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        drawn = generator.integers(size, size=(self.resamples, size))
        drawn += size * np.arange(self.resamples)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=self.resamples * size)
        return counts.reshape(self.resamples, size).astype(np.float64)


def mean_of_units(scores: Mapping[str, Sequence[float]]) -> Estimate:
    """Return the mean of all scores, with an interval over the units (users) that they are keyed by."""
    task, rule = "scores", Mean("score")
    units = np.repeat(np.arange(len(scores)), [len(some) for some in scores.values()])
    parts = rule.parts([Scored("", "", {"score": one}) for some in scores.values() for one in some])[None]
    sums = SampleSums(task, rule, (None,), units, parts, np.ones(parts.shape[:2], dtype=np.bool_))
    return Bootstrap({task: list(scores)}).estimate(sums)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return Holm's adjusted p-values (Holm 1979), valid under any dependence."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda pair: pair[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}
