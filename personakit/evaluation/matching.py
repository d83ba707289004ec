"""What a row that is shown prompts did with them: how many pay, in which order, which, and for what.

Computed from the sample logs alone: that of the rows, and that of their variants (another number of prompts,
another order). Knows rows by label.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from personakit.evaluation.bootstrap import Estimate
from personakit.evaluation.instructions import KIND, LIKELIHOOD, METRICS, PICKS, PRIMARY, TASK, facts
from personakit.evaluation.measurements import Measurements
from personakit.evaluation.results import DIGITS
from personakit.evaluation.samples import Sample, read_samples
from personakit.evaluation.statistics import Statistics

#: Kinds of instruction that have a column of their own in the table of what prompts paid, the most frequent.
MOST_KINDS = 14
#: Prompts in that table, those that paid most in all.
MOST_PROMPTS = 40


@dataclass(frozen=True, slots=True)
class Variants:
    """Labels of the passes that belong together, in the rows' log or in that of the variants.

    `by_number` maps a row to its labels by the number of prompts shown; `orders` maps what was done with the
    order to (label, the label of the same prompts in the order chosen); `paid` is the row whose prompts are
    told apart. `prompts` are the pool's, for the table: id and text.
    """

    by_number: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    orders: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    paid: str | None = None
    prompts: Sequence[tuple[str, str]] = ()


def matching(logs: Sequence[Path], variants: Variants, *, resamples: int, seed: int) -> dict[str, Any]:
    """Return the part of a results document that is about what was shown; the first log is the rows'."""
    samples = list(itertools.chain.from_iterable(read_samples(log) for log in logs if log.exists()))
    statistics = Statistics(Measurements(samples, facts()), resamples=resamples, seed=seed)
    there = set(statistics.measurements.methods)
    return {
        "curve": [
            {"method": method, "m": number, "row": label}
            | {metric: _interval(statistics.estimate(label, TASK, metric)) for metric in METRICS}
            | {"context_tokens": _tokens(statistics, label)}
            for method, labels in variants.by_number.items()
            for number, label in sorted(labels.items())
            if label in there
        ],
        "order": [
            {"order": name, "row": label, "against": chosen}
            | {
                metric: _interval(statistics.difference(label, chosen, TASK, metric))
                for metric in (PRIMARY, LIKELIHOOD)
            }
            for name, (label, chosen) in variants.orders.items()
            if {label, chosen} <= there
        ],
        "selections": selections(read_samples(logs[0]), len(variants.prompts)),
        "paid": _paid(samples, variants) if variants.paid else [],
    }


def selections(samples: Iterable[Sample], prompts: int) -> list[dict[str, Any]]:
    """Return, for each row that shows prompts, how spread its picks are, averaged over seeds.

    `entropy` in nats is that of the prompts shown over all queries, `coverage` the share of the pool shown at
    all, `most_shown` the share of queries that the most frequent prompt stood beside. With no pool common to
    all queries (`prompts` 0) there is nothing to tell.
    """
    shown: dict[str, dict[int | None, list[list[int]]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        if sample.trace.get(PICKS):
            shown[sample.method][sample.seed].append([int(place) for place in sample.trace[PICKS].split()])
    if not prompts:
        return []
    rows = []
    for method, by_seed in shown.items():
        spreads = [_spread(picks, prompts) for picks in by_seed.values()]
        names = ("entropy", "coverage", "most_shown")
        means = {name: round(fmean(each[name] for each in spreads), DIGITS) for name in names}
        rows.append({"method": method, **means, "of_entropy": round(math.log(prompts), DIGITS)})
    return rows


def _spread(picks: Sequence[Sequence[int]], prompts: int) -> dict[str, float]:
    counts = Counter(place for each in picks for place in each)
    total = counts.total()
    return {
        "entropy": -sum(count / total * math.log(count / total) for count in counts.values()),
        "coverage": len(counts) / prompts,
        "most_shown": max(counts.values()) / len(picks),
    }


@dataclass(slots=True)
class _Pay:
    shown: int = 0
    likelihood: float = 0.0
    primary: float = 0.0

    def add(self, likelihood: float, primary: float) -> None:
        self.shown += 1
        self.likelihood += likelihood
        self.primary += primary


def _paid(samples: Sequence[Sample], variants: Variants) -> list[dict[str, Any]]:
    """What each prompt added when it was picked, by kind of instruction: with it less without it.

    Picks are made one after another, so the pass with k prompts less that with k - 1 is what the k-th added.
    """
    labels = variants.by_number.get(variants.paid or "", {})
    passes: dict[str, dict[tuple[int | None, str], Sample]] = defaultdict(dict)
    for sample in samples:
        passes[sample.method][sample.seed, sample.query_id] = sample
    kinds = Counter(sample.trace.get(KIND, "") for sample in passes.get(labels.get(0, ""), {}).values())
    columns = {kind for kind, _ in kinds.most_common(MOST_KINDS)}
    pays: dict[int, dict[str, _Pay]] = defaultdict(lambda: defaultdict(_Pay))
    for number, label in sorted(labels.items()):
        before = passes.get(labels.get(number - 1, ""), {})
        for key, sample in passes.get(label, {}).items() if number else ():
            picks, earlier = _picks(sample), before.get(key)
            if earlier is None or len(picks) < number or picks[: number - 1] != _picks(earlier):
                continue
            kind = sample.trace.get(KIND, "")
            added = [_added(sample, earlier, metric) for metric in (LIKELIHOOD, PRIMARY)]
            pays[picks[number - 1]][kind if kind in columns else "other kinds"].add(*added)
    by_prompt = sorted(pays, key=lambda place: -sum(pay.likelihood for pay in pays[place].values()))
    return [
        {
            "place": place,
            "prompt": variants.prompts[place][0],
            "text": variants.prompts[place][1],
            "shown": sum(pay.shown for pay in pays[place].values()),
            "likelihood": round(_mean(pays[place].values(), "likelihood"), DIGITS),
            PRIMARY: round(_mean(pays[place].values(), "primary"), DIGITS),
            "kinds": {
                kind: {
                    "shown": pay.shown,
                    "likelihood": round(pay.likelihood / pay.shown, DIGITS),
                    PRIMARY: round(pay.primary / pay.shown, DIGITS),
                }
                for kind, pay in sorted(pays[place].items(), key=lambda item: -item[1].shown)
            },
        }
        for place in by_prompt[:MOST_PROMPTS]
        if place < len(variants.prompts)
    ]


def _mean(pays: Iterable[_Pay], name: str) -> float:
    some = list(pays)
    return sum(getattr(pay, name) for pay in some) / sum(pay.shown for pay in some)


def _added(sample: Sample, earlier: Sample, metric: str) -> float:
    assert sample.scores is not None
    assert earlier.scores is not None
    return sample.scores[metric] - earlier.scores[metric]


def _picks(sample: Sample) -> list[int]:
    return [int(place) for place in sample.trace.get(PICKS, "").split()]


def _tokens(statistics: Statistics, label: str) -> float:
    return round(statistics.measurements.costs(label, [TASK]).per_answer("context_tokens"), DIGITS)


def _interval(estimate: Estimate) -> dict[str, float]:
    return {
        "value": round(estimate.value, DIGITS),
        "low": round(estimate.low, DIGITS),
        "high": round(estimate.high, DIGITS),
    }
