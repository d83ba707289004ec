"""The section on style of a results document: every row between other writers and the users' own texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from personakit.evaluation.sections import (
    Block,
    IntervalRow,
    Intervals,
    Section,
    Sentences,
    Text,
    interval,
    number,
    percent,
)
from personakit.tasks.style import LEAST_TEXTS, METHOD


def style_section(results: Mapping[str, Any]) -> Section:
    """Return the style of each row between floor and ceiling, and which rows do not pass the floor."""
    blocks: list[Block] = []
    for task, found in results.get("style", {}).items():
        floor, ceiling = found["floor"], found["ceiling"]
        rows = [
            IntervalRow(["floor: texts of others"], floor["value"], floor["low"], floor["high"], ["", "0 %"]),
            *(
                IntervalRow(
                    [row["method"]],
                    row["value"],
                    row["low"],
                    row["high"],
                    [
                        f"{number(row['above_floor']['value'], signed=True)} "
                        f"{interval(row['above_floor'], signed=True)}",
                        "-" if row["place"]["value"] is None else percent(row["place"]["value"]),
                    ],
                )
                for row in found["rows"]
            ),
            IntervalRow(
                ["ceiling: the users' own"], ceiling["value"], ceiling["low"], ceiling["high"], ["", "100 %"]
            ),
        ]
        columns = ["method", "style", "above the floor", "place"]
        note = f"like the user rather than like {found['writers']} other writers"
        blocks += [
            Intervals(columns, rows, f"Style, {task}", note, line=floor["value"]),
            Sentences(list(_style_sentences(task, found))),
        ]
    read = (
        f"Style: the share of other writers whose texts are less similar to an answer than the user's own, "
        f"by the {METHOD}. Place: the way from floor to ceiling."
    )
    return Section("Style", [*blocks, Text(read if blocks else "")])


def _style_sentences(task: str, found: Mapping[str, Any]) -> Iterator[str]:
    judged, examples = found["judged"]
    if judged < examples:
        yield (
            f"{task}: style is judged for {judged} of {examples} queries; the users of the others have fewer "
            f"than {LEAST_TEXTS} texts that are not shown."
        )
    apart = found["apart"]
    if apart["low"] is None or apart["low"] <= 0:
        yield (
            f"{task}: the users' own texts are not apart from the floor, so style shows nothing here "
            f"({number(apart['value'], signed=True)} {interval(apart, signed=True)})."
        )
        return
    below = [row["method"] for row in found["rows"] if not (row["above_floor"]["low"] or 0) > 0]
    if below:
        yield f"{task}: not above the floor: {'; '.join(below)}."
