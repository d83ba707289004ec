"""What prompts do: score by number and order of prompts, spread of the selection, and which help with what.

Computed from two sample logs: that of the rows, and that of their variants (another number of prompts,
another order). Knows rows by label.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from personakit.evaluation.measurements import Measurements, TaskMetrics
from personakit.evaluation.results import DIGITS, interval
from personakit.evaluation.samples import Sample, read_samples
from personakit.evaluation.statistics import Statistics

TASK = "instruction"
PRIMARY, EXACT, LIKELIHOOD = "rouge-L", "exact", "likelihood"
METRICS = (PRIMARY, EXACT, LIKELIHOOD)
#: Names in a sample's trace: the places in the pool that were selected (first first), the query's kind.
PICKS, KIND = "picks", "kind"
#: Kinds of instruction with a column of their own, the most frequent ones.
MOST_KINDS = 14
#: Prompts listed, those with the largest total gain.
MOST_PROMPTS = 40


def analyse_prompts(
    logs: Sequence[Path],
    *,
    by_number: Mapping[str, Mapping[int, str]],
    orders: Mapping[str, tuple[str, str]],
    row: str,
    prompts: Sequence[tuple[str, str]],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return the part of the results about prompts; the first of `logs` is that of the rows.

    `by_number` maps a row to its labels by number of prompts. `orders` maps an order to (label, label of the
    same prompts in the selected order). `row` is the row whose prompts are listed, `prompts` the pool's (id,
    text).
    """
    samples = list(itertools.chain.from_iterable(read_samples(log) for log in logs if log.exists()))
    statistics = Statistics(
        Measurements(samples, {TASK: TaskMetrics(METRICS)}), resamples=resamples, seed=seed
    )
    there = set(statistics.measurements.methods)
    return {
        "curve": [
            {"method": method, "m": number, "row": label}
            | {metric: interval("value", statistics.estimate(label, TASK, metric)) for metric in METRICS}
            | {"context_tokens": _tokens(statistics, label)}
            for method, labels in by_number.items()
            for number, label in sorted(labels.items())
            if label in there
        ],
        "order": [
            {"order": name, "row": label, "against": chosen}
            | {
                metric: interval("value", statistics.difference(label, chosen, TASK, metric))
                for metric in (PRIMARY, LIKELIHOOD)
            }
            for name, (label, chosen) in orders.items()
            if {label, chosen} <= there
        ],
        "selections": selections(read_samples(logs[0]), len(prompts)),
        "paid": _gains(samples, by_number.get(row, {}), prompts),
    }


def selections(samples: Iterable[Sample], prompts: int) -> list[dict[str, Any]]:
    """Return how spread each row's selections are, averaged over seeds.

    `entropy` in nats is that of the selected prompts over all queries, `coverage` the share of the pool that
    is ever selected, `most_shown` the share of queries with the most frequent prompt. `prompts` is the size
    of the pool.
    """
    shown: dict[str, dict[int | None, list[list[int]]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        if sample.trace.get(PICKS):
            shown[sample.method][sample.seed].append([int(place) for place in sample.trace[PICKS].split()])
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
class _Gain:
    shown: int = 0
    likelihood: float = 0.0
    primary: float = 0.0

    def add(self, likelihood: float, primary: float) -> None:
        self.shown += 1
        self.likelihood += likelihood
        self.primary += primary


def _gains(
    samples: Sequence[Sample], labels: Mapping[int, str], prompts: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """What each prompt added when it was selected, by kind of instruction: with it minus without it.

    Prompts are selected one after another: the pass with k prompts minus that with k - 1 is the k-th's gain.
    """
    passes: dict[str, dict[tuple[int | None, str], Sample]] = defaultdict(dict)
    for sample in samples:
        passes[sample.method][sample.seed, sample.query_id] = sample
    kinds = Counter(sample.trace.get(KIND, "") for sample in passes.get(labels.get(0, ""), {}).values())
    columns = {kind for kind, _ in kinds.most_common(MOST_KINDS)}
    gains: dict[int, dict[str, _Gain]] = defaultdict(lambda: defaultdict(_Gain))
    for number, label in sorted(labels.items()):
        before = passes.get(labels.get(number - 1, ""), {})
        for key, sample in passes.get(label, {}).items() if number else ():
            picks, earlier = _picks(sample), before.get(key)
            if earlier is None or sample.scores is None or earlier.scores is None:
                continue  # a failed request
            if len(picks) < number or picks[: number - 1] != _picks(earlier):
                continue
            kind = sample.trace.get(KIND, "")
            added = [_added(sample, earlier, metric) for metric in (LIKELIHOOD, PRIMARY)]
            gains[picks[number - 1]][kind if kind in columns else "other kinds"].add(*added)
    by_prompt = sorted(gains, key=lambda place: -sum(gain.likelihood for gain in gains[place].values()))
    return [
        {
            "place": place,
            "prompt": prompts[place][0],
            "text": prompts[place][1],
            "shown": sum(gain.shown for gain in gains[place].values()),
            "likelihood": round(_mean(gains[place].values(), "likelihood"), DIGITS),
            PRIMARY: round(_mean(gains[place].values(), "primary"), DIGITS),
            "kinds": {
                kind: {
                    "shown": gain.shown,
                    "likelihood": round(gain.likelihood / gain.shown, DIGITS),
                    PRIMARY: round(gain.primary / gain.shown, DIGITS),
                }
                for kind, gain in sorted(gains[place].items(), key=lambda item: -item[1].shown)
            },
        }
        for place in by_prompt[:MOST_PROMPTS]
        if place < len(prompts)
    ]


def _mean(gains: Iterable[_Gain], name: str) -> float:
    some = list(gains)
    return float(sum(getattr(gain, name) for gain in some)) / sum(gain.shown for gain in some)


def _added(sample: Sample, earlier: Sample, metric: str) -> float:
    assert sample.scores is not None
    assert earlier.scores is not None
    return sample.scores[metric] - earlier.scores[metric]


def _picks(sample: Sample) -> list[int]:
    return [int(place) for place in sample.trace.get(PICKS, "").split()]


def _tokens(statistics: Statistics, label: str) -> float:
    return round(statistics.measurements.costs(label, [TASK]).per_answer("context_tokens"), DIGITS)
