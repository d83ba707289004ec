"""What the report says of prompts that were shown: how many pay, which, for what, and what training took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from personakit.evaluation.charts import CurveChart, curve_chart
from personakit.evaluation.instruction_table import shown_sentences
from personakit.evaluation.instructions import LIKELIHOOD, METRICS, PRIMARY
from personakit.evaluation.layout import number

#: Rows of the picture.
MOST_PROMPTS = 30


@dataclass(frozen=True, slots=True)
class Cell:
    """What a prompt paid for a kind of instruction: text, strength of its colour in [-1, 1], times shown."""

    text: str
    strength: float
    shown: int


@dataclass(frozen=True, slots=True)
class HeatRow:
    """A prompt, what it paid in all, and for each kind (None: never shown for it)."""

    label: str
    text: str
    shown: int
    pay: str
    cells: Sequence[Cell | None]


@dataclass(frozen=True, slots=True)
class Shown:
    """The section of the report."""

    curves: Sequence[CurveChart]
    kinds: Sequence[str]
    prompts: Sequence[HeatRow]
    training: Sequence[Mapping[str, str]]
    sentences: Sequence[str]


def shown_section(results: Mapping[str, Any]) -> Shown | None:
    """Return the section of a results document; None where nothing was picked and shown."""
    matching = results.get("matching")
    if matching is None:
        return None
    kinds, prompts = _heat(matching["paid"])
    return Shown(
        [chart for metric in METRICS if (chart := _curve(matching["curve"], metric)) is not None],
        kinds,
        prompts,
        [_training(row) for row in results["training"]],
        list(shown_sentences(results)),
    )


def _curve(rows: Sequence[Mapping[str, Any]], metric: str) -> CurveChart | None:
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        lines.setdefault(row["method"], []).append((float(row["m"]), row[metric]["value"]))
    drawn = [(method, points) for method, points in lines.items() if len(points) > 1]
    names = {PRIMARY: "ROUGE-L", LIKELIHOOD: "likelihood of the reference, nats a token"}
    return curve_chart(names.get(metric, metric), drawn) if drawn else None


def _heat(paid: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[HeatRow]]:
    some = paid[:MOST_PROMPTS]
    times: Counter[str] = Counter()
    for row in some:
        times.update({kind: cell["shown"] for kind, cell in row["kinds"].items()})
    kinds = sorted(times)
    widest = (
        max((abs(cell["likelihood"]) for row in some for cell in row["kinds"].values()), default=0.0) or 1.0
    )
    return kinds, [
        HeatRow(
            row["prompt"],
            row["text"],
            row["shown"],
            number(row["likelihood"], signed=True),
            [
                None
                if kind not in row["kinds"]
                else Cell(
                    number(row["kinds"][kind]["likelihood"], signed=True),
                    round(row["kinds"][kind]["likelihood"] / widest, 3),
                    row["kinds"][kind]["shown"],
                )
                for kind in kinds
            ],
        )
        for row in some
    ]


def _training(row: Mapping[str, Any]) -> dict[str, str]:
    megabytes = {
        name: "-" if row[name] is None else f"{row[name] / 1e6:.1f}"
        for name in ("gradient_optimizer_bytes", "peak_bytes")
    }
    return {
        "method": row["method"],
        "flops": "-" if row["flops"] is None else f"{row['flops']:.2e}",
        "seconds": "-" if row["seconds"] is None else f"{row['seconds']:.0f}",
        **megabytes,
    }
