"""What the training of a run cost, from what its stages recorded (`run.json`, "compute")."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Compute = Mapping[str, Mapping[str, Any]]
"""The records of one run by stage: flops, gradient_bytes, optimizer_bytes, peak_bytes, seconds."""


def training_costs(stages: Mapping[str, Sequence[str]], computes: Sequence[Compute]) -> list[dict[str, Any]]:
    """Return the training cost of each row, given its stages, averaged over runs; None where unknown.

    Operations and seconds of the stages are summed; of bytes and memory the largest stage counts.
    """
    measures: dict[str, Callable[[list[float]], float]] = {
        "flops": sum,
        "gradient_optimizer_bytes": max,
        "peak_bytes": max,
        "seconds": sum,
    }
    return [
        {
            "method": label,
            **{
                name: _mean(
                    [_joined([compute.get(stage) for stage in names], name, join) for compute in computes]
                )
                for name, join in measures.items()
            },
        }
        for label, names in stages.items()
    ]


def cost_ratio(training: Sequence[Mapping[str, Any]], method: str, against: str) -> list[dict[str, Any]]:
    """Return what share of the bytes and operations of `against` the training of `method` takes, if known."""
    rows = {row["method"]: row for row in training}
    one, other = rows.get(method), rows.get(against)
    if one is None or other is None:
        return []
    size, whole = one["gradient_optimizer_bytes"], other["gradient_optimizer_bytes"]
    if size is None or not whole:
        return []
    flops = round(one["flops"] / other["flops"], 6) if one["flops"] and other["flops"] else None
    return [{"method": method, "against": against, "bytes": round(size / whole, 6), "flops": flops}]


def _joined(
    stages: Sequence[Mapping[str, Any] | None], name: str, join: Callable[[list[float]], float]
) -> float | None:
    if any(stage is None for stage in stages):
        return None
    values = [_value(stage, name) for stage in stages if stage is not None]
    known = [value for value in values if value is not None]
    return float(join(known)) if len(known) == len(values) or (join is max and known) else None


def _value(stage: Mapping[str, Any], name: str) -> float | None:
    if name == "gradient_optimizer_bytes":
        known = "gradient_bytes" in stage
        return float(stage["gradient_bytes"] + stage["optimizer_bytes"]) if known else None
    value = stage.get(name)
    return None if value is None else float(value)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) and known else None
