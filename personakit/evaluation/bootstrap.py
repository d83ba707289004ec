"""The paired, studentised bootstrap over users and training seeds, all resamples at once.

A resample draws users with replacement (all samples of a user stay together) and, for a method with
several trained seeds, draws seeds with replacement. Every method and metric of one `Bootstrap` sees
the *same* draws, which is what makes differences paired. Methods trained with the same seeds share
their seed draws too.

Intervals are bootstrap-t intervals (Efron and Tibshirani 1993, chapter 12.5): each resample's distance from
the estimate is divided by a standard error of its own, the quantiles of that are Student's t as the data has
it, and the interval is the estimate minus those quantiles times its standard error. Standard errors are
infinitesimal jackknives (Efron 1982), from the derivative of the estimate by the weight of each user and
seed. `benchmarks/coverage.py` measures how often the intervals hold the truth: nearer to 95 % than BCa's and
percentile intervals do. `scipy.stats.bootstrap` has neither the studentised interval nor draws of users and
seeds that many estimates share.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personakit.evaluation.metrics import Floats, Metric

#: Resamples of every interval unless told otherwise.
RESAMPLES = 2000
#: Share of draws inside an interval.
LEVEL = 0.95
#: The least standard error of a resample, as a share of the estimate's own: one that by chance has drawn none
#: of the few users who differ would have none, and be infinitely far away.
LEAST_ERROR = 0.25
#: A standard error below this is rounding.
_ROUNDING = 1e-9
#: The step of numerical derivatives, as a share of the number.
_STEP = 1e-4
#: Resamples whose influences fit in a core's cache.
_AT_ONCE = 64
_USERS, _SEEDS = "users", "seeds"


@dataclass(frozen=True, slots=True)
class Influence:
    """How an estimate moves with the weight of each of n users or seeds, in the sample and in R resamples.

    The derivative by the share of thing i is `slopes[r] @ parts[i]`; `slopes` [R + 1, K] begins with the
    sample as it is, `parts` is [n, K], and `weights` [R, n] says how often a resample has drawn each.
    """

    slopes: Floats
    parts: Floats
    weights: Floats

    def variance(self) -> Floats:
        """Return the estimate's variance in the sample and in each resample, [R + 1]."""
        count = len(self.parts)
        if count < 2:
            return np.zeros(len(self.slopes))
        parts, buffer = np.ascontiguousarray(self.parts.T), np.empty((_AT_ONCE, count))
        sums = [np.square(self.slopes[:1] @ parts).sum(axis=1)]
        for start in range(0, len(self.weights), _AT_ONCE):
            weights = self.weights[start : start + _AT_ONCE]
            influences = buffer[: len(weights)]
            np.matmul(self.slopes[start + 1 : start + 1 + len(weights)], parts, out=influences)
            sums.append(np.einsum("rn,rn->r", weights, np.square(influences, out=influences)))
        return np.concatenate(sums) / (count * (count - 1))


@dataclass(frozen=True, eq=False)
class Estimate:
    """A figure and its bootstrap draws; nan marks what cannot be computed.

    `influences` are keyed by what is drawn: the users of a task, the seeds of a method.
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
        """Two-sided p-value of "the figure is 0", never below 2 / (resamples + 1).

        It belongs to the interval: below 0.05 where that leaves 0 out.
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
        """Paired difference: both sides must come from one `Bootstrap`."""
        return combine(np.subtract, [self, other])

    def _end(self, share: float) -> float:
        error, distances = self._studentized
        if not distances.size:
            return float("nan")
        return float(self.value - error * np.quantile(distances, share))

    @cached_property
    def _studentized(self) -> tuple[float, Floats]:
        """Return the standard error, and each resample's distance from the value in its standard errors."""
        none = np.zeros(len(self.draws) + 1)
        variances = sum((each.variance() for each in self.influences.values()), none)
        errors = np.sqrt(variances)
        if errors[0] < _ROUNDING:
            return 0.0, np.zeros(np.isfinite(self.draws).sum())
        distances = (self.draws - self.value) / np.maximum(errors[1:], LEAST_ERROR * errors[0])
        return float(errors[0]), distances[np.isfinite(distances)]


def combine(function: Callable[..., Any], estimates: Sequence[Estimate]) -> Estimate:
    """Return a smooth function of paired estimates; it works on numbers, and elementwise on arrays."""
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
    """Add influences of the same users or seeds, each times its derivative [R + 1]."""
    return Influence(
        np.concatenate([derivative[:, None] * each.slopes for derivative, each in terms], axis=1),
        np.concatenate([each.parts for _, each in terms], axis=1),
        terms[0][1].weights,
    )


def ratio(above: Estimate, below: Estimate) -> Estimate:
    """Ratio of two paired estimates, with an interval of the ratio.

    Draws whose denominator is not positive leave the ratio without meaning; where they are more than
    the interval's tail, the interval has no end, so value and draws are nan.
    """
    sound = below.draws > 0
    if below.value <= 0 or np.mean(~sound) > (1 - LEVEL) / 2:
        return Estimate(float("nan"), np.full_like(below.draws, np.nan))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = combine(np.divide, [above, below])
    return Estimate(share.value, np.where(sound, share.draws, np.nan), share.influences)


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """Mean of paired estimates, for example over tasks."""
    if len(estimates) == 1:
        return estimates[0]
    return combine(lambda *values: sum(values) / len(values), estimates)


@dataclass(frozen=True)
class Measured:
    """One method on one task in one metric, as sums per user.

    `parts` [seeds, samples, C] is what each sample adds (0 where not answered), `answered`
    [seeds, samples] which samples have an answer, `users` [samples] the place of each sample's user in
    the task's user list, `seeds` the training seeds, in order ((None,) for an untrained method).
    """

    task: str
    metric: Metric
    seeds: tuple[int | None, ...]
    users: NDArray[np.int64]
    parts: Floats
    answered: NDArray[np.bool_]

    @cached_property
    def complete(self) -> bool:
        """True where every seed has answered every sample."""
        return bool(self.answered.all())

    def per_seed(self) -> Floats:
        """Return the metric of each seed, shape [seeds]."""
        return self.metric.finish(self.parts.sum(axis=1))

    def restricted(self, keep: NDArray[np.bool_]) -> Measured:
        """Return the same measurement on the samples where `keep` is true."""
        return Measured(
            self.task,
            self.metric,
            self.seeds,
            self.users,
            self.parts * keep[None, :, None],
            self.answered & keep[None, :],
        )


class Bootstrap:
    """Draws of users and seeds, made once and shared by every estimate.

    `users_by_task` lists each task's users. Where tasks share no user, each task is resampled by
    itself, so a task's interval does not depend on which others were run; where users recur across
    tasks, all tasks follow one draw of users.
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

    def estimate(self, measured: Measured) -> Estimate:
        """Return the metric averaged over seeds, with its draws."""
        users = len(self.users[measured.task])
        seeds, _, width = measured.parts.shape
        sums = np.zeros((users, seeds, width))
        np.add.at(sums, measured.users, measured.parts.transpose(1, 0, 2))
        drawn = (sums.reshape(users, -1).T @ self._user_weights(measured.task).T).T  # the quicker way round
        drawn = np.concatenate([sums.sum(axis=0)[None], drawn.reshape(self.resamples, seeds, width)])
        shares = np.concatenate([np.full((1, seeds), 1 / seeds), self._weights_of_seeds(measured.seeds)])
        per_seed = measured.metric.finish(drawn)
        figures = (per_seed * shares).sum(axis=1)
        slopes = users * shares[:, :, None] * measured.metric.slopes(drawn)
        influences = self._influence_of_users(measured.task, slopes.reshape(-1, seeds * width), sums)
        if seeds > 1:
            weights = seeds * self._weights_of_seeds(measured.seeds)
            apart = per_seed - figures[:, None]
            influences[f"{_SEEDS} {measured.seeds}"] = Influence(apart, np.eye(seeds), weights)
        return Estimate(float(measured.per_seed().mean()), figures[1:], influences)

    def _influence_of_users(self, task: str, slopes: Floats, sums: Floats) -> dict[str, Influence]:
        """Return how each user moves the metric; `sums` [users, seeds, C]."""
        parts = sums.reshape(len(sums), -1)
        if not self.shared:
            return {f"{_USERS} of {task}": Influence(slopes, parts, self._user_weights(task))}
        everyone = np.zeros((self.user_count, parts.shape[1]))  # whoever is not in this task changes nothing
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
        """Return how often each of `size` things is drawn, shape [resamples, size]; keyed by name."""
        generator = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        drawn = generator.integers(size, size=(self.resamples, size))
        drawn += size * np.arange(self.resamples)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=self.resamples * size)
        return counts.reshape(self.resamples, size).astype(np.float64)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return Holm's step-down adjusted p-values (Holm 1979): valid whatever the dependence."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda pair: pair[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}
