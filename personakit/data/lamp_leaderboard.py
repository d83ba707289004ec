"""LaMP's leaderboard as reference rows, shown only with LaMP's own data.

Copied from the benchmark's site (LaMP-Benchmark/lamp-benchmark.github.io @ 68ffd63): scores on LaMP's test
split, whose golds are not public, by other models. They are marked as published and take part in no
comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_CLASSES, _RATINGS, _TEXTS = ("accuracy", "f1"), ("MAE", "RMSE"), ("rouge-1", "rouge-L")
#: The metrics of each task, the primary one first.
METRICS = {
    "LaMP_1": _CLASSES,
    "LaMP_2": _CLASSES,
    "LaMP_3": _RATINGS,
    **dict.fromkeys(("LaMP_4", "LaMP_5", "LaMP_6", "LaMP_7"), _TEXTS),
}
#: By split and model: the figures of LaMP-1 to 7 in the order of `METRICS`; "-" where there is none.
_TABLES: dict[str, dict[str, str]] = {
    "user": {
        "FlanT5-XXL zero-shot": ".520 .365/.308 .344/.650 .163/.147 .442/.400 .362/.343 .453/.395",
        "FlanT5-XXL zero-shot + retrieval": (
            ".699 .414/.364 .267/.552 .182/.167 .450/.411 .482/.471 .448/.394"
        ),
        "GPT-3.5 zero-shot": ".541 .408/.314 .706/.972 .136/.119 .387/.329 - .399/.336",
        "GPT-3.5 zero-shot + retrieval": ".695 .508/.457 .620/1.049 .150/.133 .390/.329 - .390/.322",
        "FlanT5-base fine-tuned + retrieval": (
            ".734 .556/.519 .245/.560 .186/.171 .450/.409 .587/.575 .528/.475"
        ),
        "best entry (FlanT5-XXL LoRA, pmineiro/lampstuff)": ".782 - .193/.466 .221/.202 .472/.432 - -",
    },
    "time": {
        "FlanT5-XXL zero-shot": ".502 .360/.276 .308/.611 .176/.160 .471/.422 .335/.319 .448/.396",
        "FlanT5-XXL zero-shot + retrieval": (
            ".636 .396/.304 .299/.616 .188/.172 .483/.433 .401/.387 .440/.389"
        ),
        "FlanT5-base fine-tuned + retrieval": (
            ".714 .564/.519 .266/.598 .177/.162 .479/.431 .547/.533 .516/.465"
        ),
        "ROPG-RSPG (FlanT5-XXL zero-shot)": (
            ".672 .430/.339 .264/.568 .203/.186 .483/.431 .433/.418 .461/.409"
        ),
    },
}
SPLITS = tuple(_TABLES)
#: Queries of LaMP's own dev and test splits: what data is known by as LaMP's.
_SIZES: dict[str, dict[str, tuple[int, ...]]] = {
    "user": {
        "LaMP_1": (2500, 2500),
        "LaMP_2N": (1052, 1274),
        "LaMP_3": (2500, 2500),
        "LaMP_4": (1925, 2376),
        "LaMP_5": (2500, 2500),
        "LaMP_6": (1353, 1246),
        "LaMP_7": (1500, 1496),
    },
    "time": {
        "LaMP_1": (1500, 1500),
        "LaMP_2": (1410, 1557),
        "LaMP_3": (2500, 2500),
        "LaMP_4": (1500, 1800),
        "LaMP_5": (1500, 1500),
        "LaMP_6": (1250, 1250),
        "LaMP_7": (1498, 1500),
    },
}


def published_rows(split: str, tasks: Sequence[str]) -> list[dict[str, Any]]:
    """Return the published figures of `tasks` in LaMP's "user" or "time" split, a row a model and metric."""
    return [
        {"model": model, "task": task, "metric": metric, "value": float(value), "published": True}
        for model, line in _TABLES[split].items()
        for (task, metrics), figures in zip(METRICS.items(), line.split(), strict=True)
        if task in tasks and figures != "-"
        for metric, value in zip(metrics, figures.split("/"), strict=False)
    ]


def recognised_split(sizes: Mapping[str, int], *, dated: bool) -> str | None:
    """Return which of LaMP's splits data is, by its tasks' numbers of queries; None where it is neither."""
    split = "time" if dated else "user"
    known = [size in _SIZES[split].get(task, ()) for task, size in sizes.items()]
    return split if known and all(known) else None
