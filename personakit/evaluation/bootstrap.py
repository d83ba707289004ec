"""The paired bootstrap over users and training seeds, all resamples at once.

A resample draws users with replacement (all samples of a user stay together) and, for a method with
several trained seeds, draws seeds with replacement. Every method and metric of one `Bootstrap` sees
the *same* draws, which is what makes differences paired. Methods trained with the same seeds share
their seed draws too. Intervals are percentile intervals. With few seeds the bootstrap understates
the variance between them by the factor (seeds - 1) / seeds: rows say how many seeds they rest on.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from personakit.evaluation.metrics import Floats, Metric

#: Resamples of every interval unless told otherwise.
RESAMPLES = 2000
#: Share of draws inside an interval.
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its bootstrap draws; nan marks what cannot be computed."""

    value: float
    draws: Floats

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return _percentile(self.draws, 100 * (1 - LEVEL) / 2)

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return _percentile(self.draws, 100 * (1 + LEVEL) / 2)

    @property
    def p(self) -> float:
        """Two-sided bootstrap p-value of "the figure is 0", never below 2 / (resamples + 1)."""
        draws = self.draws[np.isfinite(self.draws)]
        if not draws.size:
            return 1.0
        tail = min((draws <= 0).sum(), (draws >= 0).sum())
        return float(min(1.0, 2 * (tail + 1) / (draws.size + 1)))

    def __sub__(self, other: Estimate) -> Estimate:
        """Paired difference: both sides must come from one `Bootstrap`."""
        return Estimate(self.value - other.value, self.draws - other.draws)


def ratio(above: Estimate, below: Estimate) -> Estimate:
    """Ratio of two paired estimates, with an interval of the ratio.

    Draws whose denominator is not positive leave the ratio without meaning; where they are more than
    the interval's tail, the interval has no end, so value and draws are nan.
    """
    sound = below.draws > 0
    if below.value <= 0 or np.mean(~sound) > (1 - LEVEL) / 2:
        return Estimate(float("nan"), np.full_like(below.draws, np.nan))
    draws = np.divide(above.draws, below.draws, out=np.full_like(below.draws, np.nan), where=sound)
    return Estimate(above.value / below.value, draws)


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """Mean of paired estimates, for example over tasks."""
    return Estimate(
        float(np.mean([estimate.value for estimate in estimates])),
        np.mean([estimate.draws for estimate in estimates], axis=0),
    )


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
        if self.shared:
            joint = self._draw("users", len(everyone))
            column = {user: index for index, user in enumerate(everyone)}
            for task, users in self.users.items():
                self._weights[task] = joint[:, [column[user] for user in users]]

    def estimate(self, measured: Measured) -> Estimate:
        """Return the metric averaged over seeds, with its draws."""
        users = len(self.users[measured.task])
        seeds, _, width = measured.parts.shape
        sums = np.zeros((users, seeds, width))
        np.add.at(sums, measured.users, measured.parts.transpose(1, 0, 2))
        drawn = self._user_weights(measured.task) @ sums.reshape(users, -1)
        per_seed = measured.metric.finish(drawn.reshape(self.resamples, seeds, width))
        draws = (per_seed * self._weights_of_seeds(measured.seeds)).sum(axis=1)
        return Estimate(float(measured.per_seed().mean()), draws)

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


def _percentile(draws: Floats, q: float) -> float:
    finite = draws[np.isfinite(draws)]
    return float(np.percentile(finite, q)) if finite.size else float("nan")
