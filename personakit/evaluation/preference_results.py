"""`results.json` of a preference evaluation: the common document, and what pairs alone have."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from personakit.evaluation.bootstrap import RESAMPLES, holm
from personakit.evaluation.preferences import FACTS, TASK
from personakit.evaluation.results import Claims, compute_results
from personakit.evaluation.samples import read_samples

#: Accuracies in percent as papers report them; see `source`. They stand beside a run on that data, no other.
PUBLISHED = (
    {
        "method": "POPI",
        "source": "arXiv 2510.17881, as told by a third party",
        "accuracy": {
            "ELIX": 80.14,
            "Review": 95.76,
            "Roleplay": 72.36,
            "AlignX DEMO": 90.44,
            "AlignX Arbitrary": 71.12,
            "AlignX PAIR": 58.73,
            "AlignX UGC": 58.54,
        },
    },
    {
        "method": "AlignXpert-ICA (raw context, full data)",
        "source": "arXiv 2510.17881, as told by a third party",
        "accuracy": {
            "AlignX DEMO": 91.44,
            "AlignX Arbitrary": 75.19,
            "AlignX PAIR": 58.48,
            "AlignX UGC": 59.63,
        },
    },
)


def preference_results(
    log: Path,
    claims: Claims,
    *,
    made_by: Mapping[str, Any],
    skipped: Mapping[str, int],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute the results document of a log of pairs.

    Beside what `results.compute_results` has: `p_holm` of each comparison, corrected over all rows that
    one row is compared with; `skipped`, pairs that were left out, by reason; `left_out`, by method, signals
    that did not fit a prompt; `adapters`, by method, what a user's own weights take; `published_accuracies`.
    """
    results = compute_results(log, {TASK: FACTS}, claims, made_by=made_by, resamples=resamples, seed=seed)
    by_method: dict[str, dict[str, float]] = defaultdict(dict)
    for verdict in results["beats"]:
        by_method[verdict["method"]][verdict["against"]] = verdict["p_values_holm"][TASK]
    corrected = {method: holm(values) for method, values in by_method.items()}
    for verdict in results["beats"]:
        verdict["p_holm"] = corrected[verdict["method"]][verdict["against"]]
    return {
        **results,
        "skipped": dict(skipped),
        "left_out": _left_out(log),
        "adapters": _adapters(log),
        "published_accuracies": [dict(row) for row in PUBLISHED],
    }


def _left_out(log: Path) -> dict[str, dict[str, int]]:
    """Return how many users of each method had signals left out, and how many signals of each kind."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    met: set[tuple[str, int | None, str]] = set()
    for sample in read_samples(log):
        told = sample.trace.get("left out")
        key = (sample.method, sample.seed, sample.user_id)
        if told is None or key in met:
            continue
        met.add(key)
        counts[sample.method]["users"] += 1
        for part in told.split(", "):
            count, _, kind = part.partition(" ")
            counts[sample.method][kind] += int(count)
    return {method: dict(some) for method, some in counts.items()}


def _adapters(log: Path) -> dict[str, dict[str, float]]:
    """Return, by method that trains for each user, what an adapter takes: mean bytes and training tokens."""
    took: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for sample in read_samples(log):
        numbers = [int(word) for word in sample.trace.get("adapter", "").split() if word.isdigit()]
        if len(numbers) == 2:
            took[sample.method][sample.user_id] = (numbers[0], numbers[1])
    return {
        method: {
            "users": len(costs),
            "bytes": fmean(bytes_ for bytes_, _ in costs.values()),
            "training_tokens": round(fmean(tokens for _, tokens in costs.values()), 1),
        }
        for method, costs in took.items()
    }
