"""What an answer costs and what it keeps, beside the scores: content, tokens, seconds; and transfer.

Times are not in `results.json`, which has the same bytes however often an evaluation was stopped;
they are added up from the sample log.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.evaluation.layout import interval, make_table, number, percent, percents
from personakit.evaluation.measurements import Costs
from personakit.evaluation.samples import read_samples

if TYPE_CHECKING:
    from rich.table import Table

HOW_TO_READ_PRICE = (
    "Content kept: the share of the generic answers' facts that the rewrites keep, on tasks of free text. "
    "Tokens are those of all calls for an answer, the base's included. Seconds an answer, as measured here; "
    "of answers found in the cache, those they took when they were made."
)
HOW_TO_READ_TRANSFER = (
    "The rewriter behind bases it was not trained on; gains are over the generic answers of the same base. "
    "A share above 100 %: it also mends what that base does worse than its own."
)


def costs_of(log: Path) -> dict[str, Costs]:
    """Add up what each method's answers took, over tasks and seeds."""
    costs: dict[str, Costs] = defaultdict(Costs)
    for sample in read_samples(log):
        costs[sample.method].add(sample)
    return dict(costs)


def seconds_of(log: Path) -> dict[str, float]:
    """Return the seconds an answer of each method took, in the order they were run."""
    return {method: round(costs.per_answer("seconds"), 6) for method, costs in costs_of(log).items()}


def price_table(results: Mapping[str, Any], seconds: Mapping[str, float] | None = None) -> Table:
    """Return method x content kept, tokens and seconds, over all tasks.

    Figures that an older version's results do not have are `-`.
    """
    several = len(results["tasks"]) > 1
    shown: dict[str, Mapping[str, Any]] = {}
    for row in results["rows"]:  # the last of a method is that over all tasks
        shown[row["method"]] = row
    rows = []
    for method, row in shown.items():
        whole = not several or row["task"] not in results["tasks"]
        kept = row.get("content_kept")
        taken = None if seconds is None else seconds.get(method)
        rows.append(
            [
                method,
                "-" if kept is None or not whole else percent(kept),
                percents(row["content_kept_low"], row["content_kept_high"]) if kept is not None else "",
                f"{row['tokens']:.0f}" if whole else "-",
                "-" if taken is None else f"{taken:.2g}",
            ]
        )
    return make_table(["method", "content\nkept", "95 %\ninterval", "tokens", "seconds"], rows)


def transfer_table(results: Mapping[str, Any]) -> Table:
    """Return one line a base the rewriter never saw: both gains, and the share that is kept."""
    rows = [
        [
            one["base"],
            number(one["gain"]["value"], signed=True),
            interval(one["gain"], signed=True),
            number(one["own_gain"]["value"], signed=True),
            percent(one["share"]),
            percents(one["low"], one["high"]),
        ]
        for one in results["transfer"]
    ]
    columns = ["base", "gain\nthere", "95 %\ninterval", "gain with\nits own", "share\nkept", "95 %\ninterval"]
    return make_table(columns, rows)
