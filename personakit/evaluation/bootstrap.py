"""The paired bootstrap over users and training seeds, all resamples at once.

A resample draws users with replacement (all samples of a user stay together) and, for a method with
several trained seeds, draws seeds with replacement. Every method and metric of one `Bootstrap` sees
the *same* draws, which is what makes differences paired. Methods trained with the same seeds share
their seed draws too.

Intervals are percentile intervals where users are many. Under `FEW_USERS` those are too short, and off
to one side where users are skewed: there the ends are BCa's (Efron 1987, bias and acceleration), moved
out to the jackknife's standard error and to Student's t with the degrees of freedom that the jackknife's
own variance has (Satterthwaite). `benchmarks/coverage.py` measures how often both hold the truth. With
few seeds the plain bootstrap understates the variance between them by the factor (seeds - 1) / seeds:
rows say how many seeds they rest on.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit  # type: ignore[import-untyped]

from personakit.evaluation.metrics import Floats, Metric

#: Resamples of every interval unless told otherwise.
RESAMPLES = 2000
#: Share of draws inside an interval.
LEVEL = 0.95
#: With fewer users than this in one of its tasks, a figure's interval is the refined one.
FEW_USERS = 200
_USERS, _SEEDS = "users", "seeds"


class _Shape(NamedTuple):
    """What the jackknife knows of an estimate that its draws alone do not show."""

    bias: float
    acceleration: float
    widening: float
    """The jackknife's standard error over that of the draws."""
    freedom: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its bootstrap draws; nan marks what cannot be computed.

    `left_out` maps what is resampled (the users of a task, the seeds of a method) to the figure without
    each one of them: the jackknife.
    """

    value: float
    draws: Floats
    left_out: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self._end(-1)

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self._end(1)

    @property
    def p(self) -> float:
        """Two-sided bootstrap p-value of "the figure is 0", never below 2 / (resamples + 1).

        Where users are few it belongs to the refined interval: below 0.05 where that leaves 0 out.
        """
        draws = self.draws[np.isfinite(self.draws)]
        if not draws.size:
            return 1.0
        tail = min((draws <= 0).sum(), (draws >= 0).sum())
        least = 2 / (draws.size + 1)
        shape = self._shape(draws)
        if shape is None or tail == 0:
            return float(min(1.0, least * (tail + 1)))
        away = ndtri(((draws < 0).sum() + 0.5 * (draws == 0).sum()) / draws.size) - shape.bias
        z = away / (1 + shape.acceleration * away) - shape.bias  # BCa, solved for the normal quantile
        return float(np.clip(2 * stdtr(shape.freedom, -abs(z) / shape.widening), least, 1.0))

    def __sub__(self, other: Estimate) -> Estimate:
        """Paired difference: both sides must come from one `Bootstrap`."""
        return combine(np.subtract, [self, other])

    def _end(self, side: int) -> float:
        draws = self.draws[np.isfinite(self.draws)]
        if not draws.size:
            return float("nan")
        tail = (1 - LEVEL) / 2
        shape = self._shape(draws)
        if shape is None:
            return float(np.percentile(draws, 100 * (tail if side < 0 else 1 - tail)))
        z = shape.bias + side * float(stdtrit(shape.freedom, 1 - tail)) * shape.widening
        share = ndtr(shape.bias + z / max(0.1, 1 - shape.acceleration * z))
        return float(np.quantile(draws, share))

    def _shape(self, draws: Floats) -> _Shape | None:
        """Return what refines the interval; None where users are many, or all draws are one."""
        users = [values for name, values in self.left_out.items() if name.startswith(_USERS)]
        spread = draws.var()
        if not users or min(map(len, users)) >= FEW_USERS or spread < 1e-18:
            return None
        squares = cubes = variance = uncertainty = 0.0
        for name, values in self.left_out.items():
            known = values[np.isfinite(values)]
            if len(known) < 2:
                continue
            influence = known.mean() - known
            square = float((influence**2).sum())
            squares, cubes = squares + square, cubes + float((influence**3).sum())
            variance += square  # without the jackknife's (n - 1) / n: on the safe side of few
            uncertainty += square**2 / _freedom(influence, square, users=name.startswith(_USERS))
        if squares == 0 or uncertainty == 0:
            return None
        share = ((draws < self.value).sum() + 0.5 * (draws == self.value).sum()) / draws.size
        return _Shape(
            float(ndtri(np.clip(share, 1 / draws.size, 1 - 1 / draws.size))),
            cubes / (6 * squares**1.5),
            float(np.sqrt(variance / spread)),
            variance**2 / uncertainty,
        )


def combine(function: Callable[..., Any], estimates: Sequence[Estimate]) -> Estimate:
    """Return a function of paired estimates; it works on numbers, and elementwise on arrays."""
    families = dict.fromkeys(name for estimate in estimates for name in estimate.left_out)
    return Estimate(
        float(function(*(estimate.value for estimate in estimates))),
        function(*(estimate.draws for estimate in estimates)),
        {
            name: function(*(estimate.left_out.get(name, estimate.value) for estimate in estimates))
            for name in families
        },
    )


def ratio(above: Estimate, below: Estimate) -> Estimate:
    """Ratio of two paired estimates, with an interval of the ratio.

    Draws whose denominator is not positive leave the ratio without meaning; where they are more than
    the interval's tail, the interval has no end, so value and draws are nan.
    """
    sound = below.draws > 0
    if below.value <= 0 or np.mean(~sound) > (1 - LEVEL) / 2:
        return Estimate(float("nan"), np.full_like(below.draws, np.nan))
    draws = np.divide(above.draws, below.draws, out=np.full_like(below.draws, np.nan), where=sound)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Estimate(above.value / below.value, draws, combine(np.divide, [above, below]).left_out)


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """Mean of paired estimates, for example over tasks."""
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
            joint = self._draw(_USERS, len(everyone))
            column = {user: index for index, user in enumerate(everyone)}
            for task, users in self.users.items():
                self._columns[task] = [column[user] for user in users]
                self._weights[task] = joint[:, self._columns[task]]

    def estimate(self, measured: Measured) -> Estimate:
        """Return the metric averaged over seeds, with its draws."""
        users = len(self.users[measured.task])
        seeds, _, width = measured.parts.shape
        sums = np.zeros((users, seeds, width))
        np.add.at(sums, measured.users, measured.parts.transpose(1, 0, 2))
        drawn = self._user_weights(measured.task) @ sums.reshape(users, -1)
        per_seed = measured.metric.finish(drawn.reshape(self.resamples, seeds, width))
        draws = (per_seed * self._weights_of_seeds(measured.seeds)).sum(axis=1)
        value = float(measured.per_seed().mean())
        return Estimate(value, draws, self._left_out(measured, sums, value))

    def _left_out(self, measured: Measured, sums: Floats, value: float) -> dict[str, Floats]:
        """Return the metric without each user, and without each seed; `sums` [users, seeds, C]."""
        without = measured.metric.finish(sums.sum(axis=0) - sums).mean(axis=1)
        left_out = {f"{_USERS} of {measured.task}": without}
        if self.shared:  # whoever is not in this task changes nothing in it
            everyone = np.full(self.user_count, value)
            everyone[self._columns[measured.task]] = without
            left_out = {_USERS: everyone}
        per_seed = measured.per_seed()
        if len(per_seed) > 1:
            others = (per_seed.sum() - per_seed) / (len(per_seed) - 1)
            left_out[f"{_SEEDS} {measured.seeds}"] = others
        return left_out

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
        flat = (drawn + size * np.arange(self.resamples)[:, None]).ravel()
        counts = np.bincount(flat, minlength=self.resamples * size)
        return counts.reshape(self.resamples, size).astype(np.float64)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return Holm's step-down adjusted p-values (Holm 1979): valid whatever the dependence."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda pair: pair[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def _freedom(influence: Floats, square: float, *, users: bool) -> float:
    """Degrees of freedom of a variance estimated from `influence`: fewer where a few users are most of it.

    From the variance of a variance, (excess kurtosis / n + 2 / (n - 1)) sigma^4, by the unbiased kurtosis.
    """
    count = len(influence)
    if not users or count < 4 or square == 0:
        return max(1, count - 1)
    excess = count * float((influence**4).sum()) / square**2 - 3
    excess = (count - 1) / ((count - 2) * (count - 3)) * ((count + 1) * excess + 6)
    return 2 / (max(0.0, excess) / count + 2 / (count - 1))
