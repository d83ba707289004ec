"""What a report consists of: sections of tables, plots and sentences, for the terminal and the HTML page.

A suite turns its results into sections once. `print_sections` renders them on a terminal, and `report.py`
on the page, so the two cannot disagree. A block with `on="page"` is left out of the terminal, one with
`on="terminal"` out of the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from personakit.evaluation.charts import CurveChart, IntervalChart, PointChart, interval_chart

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Where = Literal["both", "page", "terminal"]


@dataclass(frozen=True)
class Text:
    """A paragraph: how to read what is above it."""

    text: str
    on: Where = "both"
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Sentences:
    """A list of sentences."""

    sentences: Sequence[str]
    on: Where = "both"
    kind: ClassVar[str] = "sentences"


@dataclass(frozen=True)
class Table:
    """Rows of text; the first `text_columns` columns may be wrapped, the others hold figures.

    The terminal leaves out the last `page_columns` columns. `heat` colours cells of the page:
    (row, column) to a strength in [-1, 1]. `tooltips` are shown on the page for (row, column).
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    text_columns: int = 1
    page_columns: int = 0
    on: Where = "both"
    heat: Mapping[tuple[int, int], float] = field(default_factory=dict)
    tooltips: Mapping[tuple[int, int], str] = field(default_factory=dict)
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class IntervalRow:
    """A figure with its interval (None where it cannot be computed), and further cells of text."""

    labels: Sequence[str]
    value: float | None
    low: float | None
    high: float | None
    details: Sequence[str] = ()
    marked: bool = False


@dataclass(frozen=True)
class Intervals:
    """Figures with intervals: a dot plot on the page, a table on the terminal.

    `columns` are the names of the labels, of the value and of the details, of which the terminal leaves out
    the last `page_details`. `line` is a value to compare with. `style` formats values: "plain", "signed" or
    "percent".
    """

    columns: Sequence[str]
    rows: Sequence[IntervalRow]
    title: str = ""
    note: str = ""
    line: float | None = None
    style: Literal["plain", "signed", "percent"] = "plain"
    page_details: int = 0
    on: Where = "both"
    kind: ClassVar[str] = "intervals"

    @property
    def chart(self) -> IntervalChart:
        """Where the page draws each figure."""
        lines = [] if self.line is None else [self.line]
        return interval_chart([(row.value, row.low, row.high) for row in self.rows], lines)

    def text(self, row: IntervalRow) -> str:
        """Return the value of a row with its interval."""
        return f"{self._format(row.value)} {self.interval(row)}".strip()

    def interval(self, row: IntervalRow) -> str:
        """Return `[low, high]` of a row, or nothing where it cannot be computed."""
        if row.low is None or row.high is None:
            return ""
        return f"[{self._format(row.low)}, {self._format(row.high)}]"

    def table(self) -> Table:
        """Return the same as a table."""
        labels = len(self.rows[0].labels) if self.rows else 1
        columns = [*self.columns[: labels + 1], "95 %\ninterval", *self.columns[labels + 1 :]]
        rows = [[*row.labels, self._format(row.value), self.interval(row), *row.details] for row in self.rows]
        return Table(columns, rows, text_columns=labels, page_columns=self.page_details)

    def _format(self, value: float | None) -> str:
        if self.style == "percent":
            return percent(value)
        return number(value, signed=self.style == "signed")


@dataclass(frozen=True)
class Charts:
    """Charts side by side; for the page only."""

    charts: Sequence[PointChart | CurveChart]
    unit: str = "step"
    on: Where = "page"
    kind: ClassVar[str] = "charts"


@dataclass(frozen=True)
class Panels:
    """Interval plots side by side; for the page only."""

    plots: Sequence[Intervals]
    on: Where = "page"
    kind: ClassVar[str] = "panels"


Block = Text | Sentences | Table | Intervals | Charts | Panels


@dataclass(frozen=True)
class Section:
    """Blocks under a title."""

    title: str
    blocks: Sequence[Block]

    def on(self, place: Where) -> list[Block]:
        """Return the blocks for the terminal or the page that have anything in them."""
        return [block for block in self.blocks if block.on in ("both", place) and not _is_empty(block)]


def print_sections(sections: Iterable[Section], console: Console) -> None:
    """Print sections; readable at 80 columns and without colour. User text is never read as markup."""
    from rich.text import Text as RichText

    for section in sections:
        for place, block in enumerate(section.on("terminal")):
            if place == 0:
                console.print(RichText(section.title, style="bold"))
            if isinstance(block, Table) and block.title:
                console.print(RichText(f"{block.title}:"))
            console.print(_renderable(block), soft_wrap=False)
        if section.on("terminal"):
            console.print()


def number(value: float | None, *, signed: bool = False) -> str:
    """Return three decimals; `-` for None."""
    if value is None:
        return "-"
    return f"{value:+.3f}" if signed else f"{value:.3f}"


def percent(value: float | None) -> str:
    """Return whole percents."""
    return "unknown" if value is None else f"{100 * value:.0f} %"


def interval(row: Mapping[str, Any], *, signed: bool = False) -> str:
    """Return `[low, high]` of a row of results, or nothing where it cannot be computed."""
    if row["low"] is None:
        return ""
    return f"[{number(row['low'], signed=signed)}, {number(row['high'], signed=signed)}]"


def percent_interval(low: float | None, high: float | None) -> str:
    """Return an interval in percents, or nothing where it cannot be computed."""
    return "" if low is None else f"[{percent(low)}, {percent(high)}]"


def _is_empty(block: Block) -> bool:
    if isinstance(block, Text):
        return not block.text
    content = {"sentences": "sentences", "charts": "charts", "panels": "plots"}.get(block.kind, "rows")
    return not getattr(block, content)


def _renderable(block: Block) -> RenderableType:
    from rich.text import Text as RichText

    if isinstance(block, Sentences):
        return RichText("\n".join(f"- {sentence}" for sentence in block.sentences))
    if isinstance(block, Text):
        return RichText(block.text)
    assert isinstance(block, Table | Intervals)
    return _rich_table(block if isinstance(block, Table) else block.table())


def _rich_table(block: Table) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text as RichText

    shown = len(block.columns) - block.page_columns
    table = RichTable(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for place, column in enumerate(block.columns[:shown]):
        left = place < block.text_columns
        table.add_column(
            RichText(column), justify="left" if left else "right", overflow="fold", no_wrap=not left
        )
    for row in block.rows:
        table.add_row(*(RichText(cell) for cell in row[:shown]))
    return table
