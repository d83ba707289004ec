"""Compares the row values and differences of two evaluations, for example of one saved run by two versions.

    python scripts/compare_results.py OLD/results.json NEW/results.json

Prints the largest difference of every kind of figure. Exit status 1 if one is above 1e-6, or if a row or
comparison of OLD is missing in NEW. Intervals, leak counts and new fields are not compared.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

TOLERANCE = 1e-6


def figures(results: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, ...], float | None]]:
    """Yield (kind, what it is about, value) of every figure that must not change."""
    for row in results["rows"]:
        key = (row["method"], row["task"], row["metric"])
        yield "value", key, row["value"]
        for name in ("content_kept", "context_tokens", "tokens", "examples", "seeds"):
            yield name, key, row[name]
    for row in results["comparisons"]:
        yield "difference", (row["method"], row["against"], row["task"], row["metric"]), row["difference"]
    for gap in results["gap_closed"]:
        yield "gap closed", (gap["method"], gap["from"], gap["to"]), gap["value"]
    for test in results["wrong_user"]:
        yield "right - wrong", (test["right"], test["wrong"]), test["right_minus_wrong"]["value"]
        yield "wrong - empty", (test["wrong"], test["empty"]), test["wrong_minus_empty"]["value"]
    for one in results["transfer"]:
        yield "transfer", (one["base"],), one["share"]
    for kind, points in results.get("curves", {}).items():
        for point in points:
            yield "curve", (kind, point["method"], point["at"]), point["value"]
    for row in results.get("judged", {}).get("rows", ()):
        yield "wins", (row["method"],), row["value"]
    for one in results.get("matching", {}).get("curve", ()):
        yield "number of prompts", (one["method"], one["m"]), one["rouge-L"]["value"]
    for one in results.get("matching", {}).get("paid", ()):
        yield "gain of a prompt", (one["place"],), one["likelihood"]


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Print what was compared; return whether all of it agrees."""
    found = {(kind, key): value for kind, key, value in figures(new)}
    counts: dict[str, list[float]] = {}
    agree = True
    for kind, key, value in figures(old):
        if (kind, key) not in found:
            print(f"missing: {kind} of {', '.join(map(str, key))}")
            agree = False
            continue
        other = found[kind, key]
        difference = 0.0 if value == other else float("inf") if None in (value, other) else abs(value - other)
        counts.setdefault(kind, []).append(difference)
        if difference > TOLERANCE:
            print(f"{kind} of {', '.join(map(str, key))}: {value} and {other}")
            agree = False
    for kind, differences in counts.items():
        print(f"{kind}: {len(differences)} compared, largest difference {max(differences):.2g}")
    return agree


def main() -> int:
    """Compare two files."""
    old, new = (json.loads(Path(path).read_text(encoding="utf-8")) for path in sys.argv[1:3])
    return 0 if compare(old, new) else 1


if __name__ == "__main__":
    sys.exit(main())
