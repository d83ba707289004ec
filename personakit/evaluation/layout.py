"""How figures and tables look on a terminal: three decimals, a minus sign only where something is lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

#: Columns of text; they stand first, and are folded where the terminal is narrow.
_TEXTS = ("method", "against", "base", "prompt")


def number(value: float | None, *, signed: bool = False) -> str:
    """Return three decimals; `-` for what is not there."""
    if value is None:
        return "-"
    return f"{value:+.3f}" if signed else f"{value:.3f}"


def percent(value: float | None) -> str:
    """Return whole percents."""
    return "cannot be told" if value is None else f"{100 * value:.0f} %"


def percents(low: float | None, high: float | None) -> str:
    """Return an interval in percents, or nothing where it cannot be computed."""
    return "" if low is None else f"[{percent(low)}, {percent(high)}]"


def interval(row: Mapping[str, Any], *, signed: bool = False) -> str:
    """Return `[low, high]`, or nothing where it cannot be computed."""
    if row["low"] is None:
        return ""
    return f"[{number(row['low'], signed=signed)}, {number(row['high'], signed=signed)}]"


def make_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table whose first columns, those of text, may be folded and whose figures may not."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    texts = sum(column in _TEXTS for column in columns)
    for place, column in enumerate(columns):
        left = place < texts
        table.add_column(Text(column), justify="left" if left else "right", overflow="fold", no_wrap=not left)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
