"""Turns the sample log into arrays of what each sample adds to each metric."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from personakit.errors import UserError
from personakit.evaluation.bootstrap import SampleSums
from personakit.evaluation.metrics import Floats, Scored, make_metric
from personakit.evaluation.samples import Sample, read_samples
from personakit.tasks import Task
from personakit.tasks.content import FactFinder, count_kept, entities_and_numbers
from personakit.tasks.style import STYLE

if TYPE_CHECKING:
    from personakit.evaluation.style import TaskStyle


@dataclass(frozen=True, slots=True)
class TaskMetrics:
    """A task's metrics (the primary one first) and their direction.

    The mean over tasks uses `offset + slope * primary`, which is in [0, 1] with higher values better.
    `find_facts` finds the facts in an answer, for free-text tasks. `style` has the scores of other
    writers and of the golds, where the style of answers is measured.
    """

    metrics: tuple[str, ...]
    lower_is_better: bool = False
    labels: tuple[str, ...] = ()
    offset: float = 0.0
    slope: float = 1.0
    find_facts: FactFinder | None = None
    style: TaskStyle | None = None

    @property
    def primary(self) -> str:
        """The metric used in the mean over tasks."""
        return self.metrics[0]

    def figure(self, primary: Floats) -> Floats:
        """Map the primary metric into [0, 1]: accuracy, 1 - MAE/4, ROUGE."""
        return self.offset + self.slope * primary


def task_metrics(
    task: Task, find_facts: FactFinder = entities_and_numbers, style: TaskStyle | None = None
) -> TaskMetrics:
    """Return a task's metrics; `find_facts` is used for free-text tasks, `style` adds its score to them."""
    others = tuple(metric for metric in task.metrics if metric != task.primary)
    offset = task.figure({task.primary: 0.0})
    slope = task.figure({task.primary: 1.0}) - offset
    return TaskMetrics(
        (task.primary, *others, *([] if style is None else [STYLE])),
        task.lower_is_better,
        task.labels,
        offset,
        slope,
        find_facts if task.kind == "generation" else None,
        style,
    )


@dataclass(slots=True)
class Costs:
    """Cost of a method's answers and counts of problems, summed over samples and seeds.

    Counts of samples: `errors` (no answer, not scored), `refused` (scored, mostly empty), `cut` (by the token
    limit), `prompts_cut` (to a model's context window), `degraded` (answered by a fallback), `unparsable`
    (scored by the task's rule for such answers), `empty_profiles` (no history).
    """

    samples: int = 0
    tokens: float = 0
    context_tokens: float = 0
    seconds: float = 0
    errors: int = 0
    refused: int = 0
    cut: int = 0
    prompts_cut: int = 0
    degraded: int = 0
    unparsable: int = 0
    empty_profiles: int = 0

    def add(self, sample: Sample) -> None:
        """Count one sample."""
        self.samples += 1
        self.tokens += sample.tokens
        self.context_tokens += sample.context_tokens
        self.seconds += sample.seconds
        self.errors += sample.error is not None
        self.refused += sample.refused is not None
        self.cut += sample.cut
        self.prompts_cut += sample.prompt_cut > 0
        self.degraded += sample.degraded is not None
        self.unparsable += sample.unparsable
        self.empty_profiles += sample.profile_items == 0

    def __add__(self, other: Costs) -> Costs:
        return Costs(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def per_answer(self, name: str) -> float:
        """Return tokens, context_tokens or seconds per answer."""
        return float(getattr(self, name)) / self.samples


def read_costs(log: Path) -> dict[str, Costs]:
    """Return each method's costs, summed over tasks and seeds, in the order of the log."""
    costs: dict[str, Costs] = defaultdict(Costs)
    for sample in read_samples(log):
        costs[sample.method].add(sample)
    return dict(costs)


class Measurements:
    """All answers of a log by method, task, seed and sample."""

    def __init__(self, samples: Iterable[Sample], tasks: Mapping[str, TaskMetrics]) -> None:
        self.tasks: dict[str, TaskMetrics] = {}
        self.users: dict[str, list[str]] = {}
        self.seeds: dict[str, tuple[int | None, ...]] = {}
        self._queries: dict[str, dict[str, int]] = defaultdict(dict)
        self._user_of: dict[str, list[str]] = defaultdict(list)
        self._scored: dict[tuple[str, int | None, str], dict[int, Scored]] = defaultdict(dict)
        self._costs: dict[tuple[str, str], Costs] = defaultdict(Costs)
        self._rewriting: set[tuple[str, str]] = set()
        self._facts = tasks
        for sample in samples:
            self._add(sample)
        for task in self._queries:
            self.tasks[task] = tasks[task]
            self.users[task] = list(dict.fromkeys(self._user_of[task]))
        seeds: dict[str, dict[int | None, None]] = defaultdict(dict)
        for method, seed, _ in self._scored:
            seeds[method][seed] = None
        self.seeds = {
            method: tuple(sorted(some, key=lambda seed: (seed is not None, seed or 0)))
            for method, some in seeds.items()
        }
        if not any(self._scored.values()):
            raise UserError(
                "no sample in the log has an answer and a gold, expected at least 1",
                hint="evaluate a split with golds (LaMP's test split has none), or read the logged errors",
            )

    @property
    def methods(self) -> tuple[str, ...]:
        """Labels of the methods, in the order of the log."""
        return tuple(self.seeds)

    def has(self, method: str, task: str) -> bool:
        """Return True if `method` was run on `task`."""
        return (method, task) in self._costs

    def rewrites(self, method: str, task: str) -> bool:
        """Return True if `method` rewrote generic answers whose facts can be found."""
        return (method, task) in self._rewriting

    def has_all(self, method: str) -> bool:
        """Return True if `method` was run on every task of the log."""
        return all(self.has(method, task) for task in self.tasks)

    def comparable(self, *methods: str) -> bool:
        """Return True if all of `methods` were run on at least one common task."""
        return any(all(self.has(method, task) for method in methods) for task in self.tasks)

    def examples(self, task: str) -> int:
        """Number of queries of a task."""
        return len(self._queries[task])

    def sample_sums(self, method: str, task: str, metric: str) -> SampleSums:
        """Return one metric of one method on one task, for the bootstrap."""
        facts = self.tasks[task]
        rule = make_metric(metric, labels=facts.labels)
        seeds = self.seeds[method]
        parts = np.zeros((len(seeds), self.examples(task), rule.width))
        answered = np.zeros((len(seeds), self.examples(task)), dtype=np.bool_)
        for row, seed in enumerate(seeds):
            scored = self._scored[method, seed, task]
            places = list(scored)
            if places:
                parts[row, places] = rule.parts(list(scored.values()))
                answered[row, places] = True
        return SampleSums(task, rule, seeds, self._user_places(task), parts, answered)

    def style_sums(self, task: str, scores: Mapping[str, float]) -> SampleSums:
        """Return style scores by query id, of texts that are no method's answers, for the bootstrap."""
        rule = make_metric(STYLE)
        known = {place: scores[id] for id, place in self._queries[task].items() if id in scores}
        parts = np.zeros((1, self.examples(task), rule.width))
        parts[0, list(known)] = rule.parts([Scored("", "", {STYLE: score}) for score in known.values()])
        answered = np.zeros(parts.shape[:2], dtype=np.bool_)
        answered[0, list(known)] = True
        return SampleSums(task, rule, (None,), self._user_places(task), parts, answered)

    def costs(self, method: str, tasks: Iterable[str]) -> Costs:
        """Return the total cost of a method's answers on some tasks."""
        return sum((self._costs[method, task] for task in tasks), start=Costs())

    def _user_places(self, task: str) -> NDArray[np.int64]:
        place = {user: index for index, user in enumerate(self.users[task])}
        return np.array([place[user] for user in self._user_of[task]], dtype=np.int64)

    def _add(self, sample: Sample) -> None:
        queries = self._queries[sample.task]
        if sample.query_id not in queries:
            queries[sample.query_id] = len(queries)
            self._user_of[sample.task].append(sample.user_id)
        scored = self._scored[sample.key]
        if sample.scores is not None and sample.gold is not None:
            scored[queries[sample.query_id]] = Scored(
                sample.prediction, sample.gold, sample.scores, self._kept(sample)
            )
        self._costs[sample.method, sample.task].add(sample)

    def _kept(self, sample: Sample) -> tuple[int, int]:
        find = self._facts[sample.task].find_facts
        if find is None or sample.generic is None:
            return 0, 0
        self._rewriting.add((sample.method, sample.task))
        return count_kept(sample.generic, sample.prediction, find)
