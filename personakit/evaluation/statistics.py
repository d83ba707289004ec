"""Estimates, paired differences and verdicts, as defined in docs/methods.md ("Rules of comparison").

Positive differences are better, whatever the metric's direction. Failed answers do not count in a method's
score; a difference then uses the samples that both methods answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from personakit.evaluation.bootstrap import (
    RESAMPLES,
    Bootstrap,
    Estimate,
    SampleSums,
    combine,
    holm,
    mean,
    ratio,
)
from personakit.evaluation.measurements import Measurements
from personakit.evaluation.metrics import CONTENT_KEPT
from personakit.tasks.style import STYLE

#: Family-wise error rate over single tasks (Holm).
ALPHA = 0.05
#: Number of the seven tasks that must be significantly better for "beats".
TASKS_NEEDED = 5
#: Maximum gain of the wrong history over none, as a fraction of the right history's gain.
WRONG_USER_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Beats:
    """Whether `method` beats `against`, and the conditions that failed, as sentences."""

    method: str
    against: str
    holds: bool
    failed: tuple[str, ...]
    difference: Estimate
    better: tuple[str, ...]
    worse: tuple[str, ...]
    p_values: dict[str, float]


@dataclass(frozen=True, slots=True)
class WrongUser:
    """The wrong-user test: the user's own history must help, another user's must not.

    `gain` is right - wrong, `leak` wrong - empty, `share` leak over (right - empty).
    """

    right: str
    wrong: str
    empty: str
    holds: bool
    failed: tuple[str, ...]
    gain: Estimate
    leak: Estimate
    share: Estimate


@dataclass(frozen=True, slots=True)
class Transfer:
    """A method's gain with another base model, with that of its training, and their ratio."""

    gain: Estimate
    own_gain: Estimate
    share: Estimate


@dataclass(frozen=True, slots=True)
class Gap:
    """The fraction of a gap that a method closes, from a row `low` to an oracle `high`.

    `lead` is high - low, `ahead` high - method. `share` is nan unless the oracle leads: the interval of its
    lead is above 0, and the method's figure is not above the oracle's.
    """

    share: Estimate
    lead: Estimate
    ahead: Estimate


@dataclass(frozen=True, slots=True)
class StyleRow:
    """A row's style score, its distance from the floor, and its place on the way from floor to ceiling.

    `place` is nan unless floor and ceiling are apart.
    """

    method: str
    score: Estimate
    above_floor: Estimate
    place: Estimate


@dataclass(frozen=True, slots=True)
class StyleTable:
    """The style of all rows on one task, with floor and ceiling; `apart` is their distance."""

    floor: Estimate
    ceiling: Estimate
    apart: Estimate
    rows: tuple[StyleRow, ...]


class Statistics:
    """Estimates over one set of measurements, which share their resamples."""

    def __init__(self, measurements: Measurements, *, resamples: int = RESAMPLES, seed: int = 0) -> None:
        self.measurements = measurements
        self.bootstrap = Bootstrap(measurements.users, resamples=resamples, seed=seed)
        self._sample_sums = cache(measurements.sample_sums)
        self._estimate = cache(self._estimate_uncached)
        self._figure_difference = cache(self._figure_difference_uncached)

    def estimate(self, method: str, task: str, metric: str) -> Estimate:
        """Return a method's metric on a task, averaged over its seeds."""
        return self._estimate(method, task, metric)

    def primary(self, method: str, tasks: Sequence[str] | None = None) -> Estimate:
        """Return the mean over tasks of the primary metrics, each mapped into [0, 1]."""
        return mean(
            [
                self._figure(task, self.estimate(method, task, self.measurements.tasks[task].primary))
                for task in self._tasks(tasks, method)
            ]
        )

    def difference(self, method: str, against: str, task: str, metric: str) -> Estimate:
        """Return the paired difference on one task; positive: `method` is better."""
        one, other = self._paired(method, against, task, metric)
        difference = one - other
        if self.measurements.tasks[task].lower_is_better:
            return combine(np.negative, [difference])
        return difference

    def primary_difference(self, method: str, against: str) -> Estimate:
        """Return the paired difference of the primary means over the tasks of both."""
        return mean(
            [self._figure_difference(method, against, task) for task in self._tasks(None, method, against)]
        )

    def gap_closed(self, method: str, low: str, high: str) -> Gap:
        """Return the fraction of the gap from `low` to the oracle `high` that `method` closes."""
        tasks = self._tasks(None, method, low, high)
        base, own, oracle = (self.primary(label, tasks) for label in (low, method, high))
        lead, ahead = oracle - base, oracle - own
        share = ratio(own - base, lead)
        if ahead.value < 0:  # not an upper bound of this method
            share = Estimate(float("nan"), np.full_like(share.draws, np.nan))
        return Gap(share, lead, ahead)

    def content_kept(self, method: str, tasks: Sequence[str] | None = None) -> Estimate | None:
        """Return the fraction of the generic answers' facts that `method` keeps, averaged over `tasks`.

        Tasks without rewrites or without facts are skipped; None if no task remains.
        """
        rewritten = [task for task in self._tasks(tasks, method) if self.measurements.rewrites(method, task)]
        shares = [self.estimate(method, task, CONTENT_KEPT) for task in rewritten]
        known = [share for share in shares if np.isfinite(share.value)]
        return mean(known) if known else None

    def style(self, task: str) -> StyleTable | None:
        """Return the style of the rows on `task`; None where it is not measured."""
        style = self.measurements.tasks[task].style
        if style is None:
            return None
        floor, ceiling = (
            self.bootstrap.estimate(self.measurements.style_sums(task, scores))
            for scores in (style.floor, style.ceiling)
        )
        apart = ceiling - floor
        scores = {
            method: self.estimate(method, task, STYLE)
            for method in self.measurements.methods
            if self.measurements.has(method, task)
        }
        rows = [
            StyleRow(method, score, score - floor, ratio(score - floor, apart))
            for method, score in scores.items()
            if np.isfinite(score.value)
        ]
        return StyleTable(floor, ceiling, apart, tuple(rows))

    def transfer(self, method: str, generic: str, own: str, own_generic: str) -> Transfer:
        """Return the fraction of the gain `own` - `own_generic` that `method` - `generic` keeps.

        All four share the resampled users, and `method` and `own` the resampled training seeds.
        """
        tasks = self._tasks(None, method, generic, own, own_generic)
        gain, own_gain = (
            mean([self._figure_difference(one, other, task) for task in tasks])
            for one, other in ((method, generic), (own, own_generic))
        )
        return Transfer(gain, own_gain, ratio(gain, own_gain))

    def beats(self, method: str, against: str) -> Beats:
        """Test "`method` beats `against`", the four conditions in docs/methods.md."""
        tasks = self._tasks(None, method, against)
        by_task = {task: self._figure_difference(method, against, task) for task in tasks}
        p_values = holm({task: difference.p for task, difference in by_task.items()})
        significant = [task for task in tasks if p_values[task] < ALPHA]
        better = tuple(task for task in significant if by_task[task].value > 0)
        worse = tuple(task for task in significant if by_task[task].value < 0)
        difference = mean(list(by_task.values()))
        failed = []
        if not difference.low > 0:
            failed.append(f"the primary difference's interval starts at {difference.low:.4f}, not above 0")
        if len(better) < TASKS_NEEDED:
            failed.append(f"{len(better)} of {len(tasks)} tasks significantly better, {TASKS_NEEDED} needed")
        if worse:
            failed.append(f"significantly worse on {', '.join(worse)}")
        against_sign = [
            seed for seed, value in self._seed_differences(method, against).items() if not value > 0
        ]
        if against_sign:
            failed.append(f"no gain with seed {', '.join(map(str, against_sign))}")
        return Beats(method, against, not failed, tuple(failed), difference, better, worse, p_values)

    def wrong_user(self, right: str, wrong: str, empty: str) -> WrongUser:
        """Run the wrong-user test on the primary means."""
        gain = self.primary_difference(right, wrong)
        leak = self.primary_difference(wrong, empty)
        whole = self.primary_difference(right, empty)
        failed = []
        if not gain.low > 0:
            failed.append(f"right - wrong has the lower bound {gain.low:.4f}, not above 0")
        if not leak.value < WRONG_USER_SHARE * whole.value:
            failed.append(
                f"wrong - empty is {leak.value:.4f}, not under a fifth of right - empty, {whole.value:.4f}"
            )
        return WrongUser(right, wrong, empty, not failed, tuple(failed), gain, leak, ratio(leak, whole))

    def _tasks(self, tasks: Sequence[str] | None, *methods: str) -> list[str]:
        """Return the tasks on which all of `methods` were run."""
        some = self.measurements.tasks if tasks is None else tasks
        return [task for task in some if all(self.measurements.has(method, task) for method in methods)]

    def _estimate_uncached(self, method: str, task: str, metric: str) -> Estimate:
        return self.bootstrap.estimate(self._sample_sums(method, task, metric))

    def _common(self, method: str, against: str, task: str, metric: str) -> tuple[SampleSums, SampleSums]:
        """Return both methods on the samples that all seeds of both answered."""
        one, other = self._sample_sums(method, task, metric), self._sample_sums(against, task, metric)
        if one.complete and other.complete:
            return one, other
        keep: NDArray[np.bool_] = np.all(np.vstack([one.answered, other.answered]), axis=0)
        return one.restricted(keep), other.restricted(keep)

    def _paired(self, method: str, against: str, task: str, metric: str) -> tuple[Estimate, Estimate]:
        one, other = self._common(method, against, task, metric)
        if one.complete and other.complete:
            return self.estimate(method, task, metric), self.estimate(against, task, metric)
        return self.bootstrap.estimate(one), self.bootstrap.estimate(other)

    def _figure(self, task: str, estimate: Estimate) -> Estimate:
        """Map a task's primary metric into [0, 1]."""
        figure = self.measurements.tasks[task].figure
        return combine(figure, [estimate])

    def _figure_difference_uncached(self, method: str, against: str, task: str) -> Estimate:
        one, other = self._paired(method, against, task, self.measurements.tasks[task].primary)
        return self._figure(task, one) - self._figure(task, other)

    def _seed_differences(self, method: str, against: str) -> dict[int | None, float]:
        """Return the primary difference of each seed of `method` to the same seed of `against`.

        If `against` lacks the seed (it is untrained or has others), to its mean over seeds.
        """
        tasks = self._tasks(None, method, against)
        differences: dict[int | None, list[float]] = {seed: [] for seed in self.measurements.seeds[method]}
        for task in tasks:
            one, other = self._common(method, against, task, self.measurements.tasks[task].primary)
            figure = self.measurements.tasks[task].figure
            base = figure(other.per_seed())
            by_seed = dict(zip(other.seeds, base, strict=True))
            for seed, value in zip(one.seeds, figure(one.per_seed()), strict=True):
                differences[seed].append(float(value - by_seed.get(seed, base.mean())))
        return {seed: float(np.mean(values)) for seed, values in differences.items()}
