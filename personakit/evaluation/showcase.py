"""Selects the samples in the report, with the differences between generic and personalized answers."""

from __future__ import annotations

import base64
import difflib
import gzip
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from personakit.evaluation.samples import Sample, read_samples

#: Maximum samples in a report: a few compressed megabytes (benchmarks/evaluation_size.py).
MOST_SAMPLES = 10_000
#: Maximum characters of a query.
QUERY_CHARACTERS = 1500

Change = tuple[Literal["same", "gone", "new"], str]


@dataclass(frozen=True, slots=True)
class ShownSample:
    """A sample in the report's format; `outcome` is relative to the baseline row."""

    method: str
    task: str
    user: str
    query_id: str
    query: str
    profile_of: str | None
    context: dict[str, Any]
    trace: dict[str, str]
    generic: str | None
    prediction: str
    gold: str | None
    changes: list[Change] | None
    utility: float | None
    baseline: float | None
    outcome: Literal["won", "lost", "tied", "failed", "unscored"]
    problem: str | None


@dataclass(frozen=True, slots=True)
class Showcase:
    """The selected samples, of `total` in the log."""

    samples: list[dict[str, Any]]
    total: int


def choose_samples(
    log: Path, *, baseline: str, methods: Sequence[str] | None = None, most: int = MOST_SAMPLES
) -> Showcase:
    """Select samples of the first seed of `methods`, in this order (None: all but the baseline).

    All methods get the same queries, spread evenly over tasks and over each task's examples.
    """
    queries: dict[str, dict[str, None]] = defaultdict(dict)
    seeds: dict[str, int | None] = {}
    total = 0
    for sample in read_samples(log):
        queries[sample.task][sample.query_id] = None
        seeds.setdefault(sample.method, sample.seed)
        total += 1
    wanted = [method for method in seeds if method != baseline] if methods is None else methods
    shown = [method for method in wanted if method in seeds]
    share = max(1, most // max(1, len(shown) * len(queries)))
    chosen = {task: _spread(list(ids), share) for task, ids in queries.items()}
    picked: dict[str, dict[tuple[str, str], Sample]] = defaultdict(dict)
    for sample in read_samples(log):
        if sample.seed == seeds[sample.method] and sample.query_id in chosen[sample.task]:
            picked[sample.method][sample.task, sample.query_id] = sample
    return Showcase(
        [
            asdict(_show(sample, picked[baseline].get(key)))
            for method in shown
            for key, sample in picked[method].items()
        ][:most],
        total,
    )


def pack_samples(samples: Sequence[Mapping[str, Any]]) -> str:
    """Encode samples for the page (JSON, gzip, base64), deterministically.

    They are sorted by query, so that answers to the same query compress well.
    """
    together = sorted(samples, key=lambda sample: (sample["task"], sample["query_id"]))
    return base64.b64encode(gzip.compress(orjson.dumps(together), 6, mtime=0)).decode("ascii")


def word_changes(before: str, after: str) -> list[Change]:
    """Return the word-level edits from `before` to `after`; joined without "gone" they give `after`."""
    old, new = _words(before), _words(after)
    changes: list[Change] = []
    for kind, start, stop, new_start, new_stop in difflib.SequenceMatcher(
        None, old, new, autojunk=False
    ).get_opcodes():
        if kind == "equal":
            changes.append(("same", "".join(old[start:stop])))
            continue
        if stop > start:
            changes.append(("gone", "".join(old[start:stop])))
        if new_stop > new_start:
            changes.append(("new", "".join(new[new_start:new_stop])))
    return changes


def _show(sample: Sample, baseline: Sample | None) -> ShownSample:
    generic = sample.generic
    if generic is None and baseline is not None and baseline.error is None:
        generic = baseline.prediction
    query = sample.query
    return ShownSample(
        method=sample.method,
        task=sample.task,
        user=sample.user_id,
        query_id=sample.query_id,
        query=query if len(query) <= QUERY_CHARACTERS else query[:QUERY_CHARACTERS] + "…",
        profile_of=sample.profile_of,
        context=sample.context,
        trace=sample.trace,
        generic=generic,
        prediction=sample.prediction,
        gold=sample.gold,
        changes=None if generic is None else word_changes(generic, sample.prediction),
        utility=sample.utility,
        baseline=None if baseline is None else baseline.utility,
        outcome=_outcome(sample, baseline),
        problem=sample.error
        or (sample.refused and f"refused: {sample.refused}")
        or sample.degraded
        or ("cut by the token limit" if sample.cut else None)
        or (f"{sample.prompt_cut} prompt tokens were not read" if sample.prompt_cut else None),
    )


def _outcome(sample: Sample, baseline: Sample | None) -> Literal["won", "lost", "tied", "failed", "unscored"]:
    if sample.error is not None:
        return "failed"
    if sample.utility is None or baseline is None or baseline.utility is None:
        return "unscored"
    if abs(sample.utility - baseline.utility) < 1e-9:
        return "tied"
    return "won" if sample.utility > baseline.utility else "lost"


def _words(text: str) -> list[str]:
    return re.findall(r"\s+|\w+|[^\w\s]", text)


def _spread(ids: list[str], count: int) -> frozenset[str]:
    count = min(count, len(ids))
    return frozenset(ids[place * len(ids) // count] for place in range(count))
