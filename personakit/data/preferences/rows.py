"""What every preference format is turned into, row by row, and the count of what is left out.

A row becomes one `PreferenceRow`; the division into signals and held-out pairs comes later
(`divide.py`), because most formats know no such division.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from personakit.data.json_stream import stream_list
from personakit.data.tables import SUFFIXES, Row, find_column, read_rows
from personakit.errors import UserError

USER_COLUMNS = ("user_id", "user")

EMPTY = "pairs with an empty prompt or answer"
EQUAL = "pairs whose chosen answer equals the rejected one"
LABEL = "pairs whose label is neither 0 nor 1"
REPEATED = "pairs that repeat one of the same user"
CONTRADICTING = "pairs that contradict an earlier one of the same user"
AMONG_SIGNALS = "held-out pairs whose prompt or an answer stands among the signals"
ONE_PAIR = "pairs of users who have one pair and nothing else"
ONE_TEXT = "pairs of users whose pairs all share a prompt or an answer"
NO_SIGNALS = "held-out pairs of users without signals"
NO_PAIRS = "signal pairs of users without held-out pairs"
IS_AN_ANSWER = "comments, lines about the user or items that are a held-out answer"


class Texts(NamedTuple):
    """The three texts of a pair."""

    prompt: str
    chosen: str
    rejected: str

    def fault(self) -> str | None:
        """Return why the pair is of no use, None where it is."""
        if not (self.prompt.strip() and self.chosen.strip() and self.rejected.strip()):
            return EMPTY
        return EQUAL if self.chosen.strip() == self.rejected.strip() else None


@dataclass(slots=True)
class PreferenceRow:
    """One row of any format.

    `user` is None where the format names none. `pairs` are the row's own comparisons; `signal_pairs`,
    `comments`, `about` and `items` what it says besides of the user (`items` as written by `native.py`).
    """

    place: str
    user: str | None
    pairs: list[Texts] = field(default_factory=list)
    signal_pairs: list[Texts] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    about: list[str] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)
    persona: str | None = None


@dataclass(frozen=True, slots=True)
class Skip:
    """How often something was left out for one reason, and the place of the first (`FILE, line 3`)."""

    count: int
    first: str


class Skips:
    """Counts what is left out, by reason."""

    def __init__(self) -> None:
        self._found: dict[str, Skip] = {}

    def add(self, reason: str, place: str, count: int = 1) -> None:
        """Count `count` things left out for `reason`."""
        if count:
            known = self._found.get(reason)
            self._found[reason] = (
                Skip(count, place) if known is None else Skip(known.count + count, known.first)
            )

    @property
    def report(self) -> Mapping[str, Skip]:
        """The counts by reason, in the order in which the reasons were first met."""
        return dict(self._found)

    def total(self, *but: str) -> int:
        """How many were left out, for whatever reason other than those in `but`."""
        return sum(skip.count for reason, skip in self._found.items() if reason not in but)


def source_rows(path: Path, columns: Mapping[str, str] | None = None) -> Iterator[Row]:
    """Yield the rows of a .json list, .jsonl, .csv or .parquet file.

    `columns` says which column stands for a field that is called otherwise. Raises `UserError` naming
    file and place for anything that cannot be read.
    """
    for row in _rows(path):
        if columns:
            values = dict(row.values)
            for name, column in columns.items():
                values[name] = values.pop(find_column(name, column, list(values), row.place))
            row = Row(row.place, values)
        yield row


def _rows(path: Path) -> Iterator[Row]:
    if path.suffix.casefold() in SUFFIXES:
        yield from read_rows(path)
        return
    for number, element in enumerate(stream_list(path), start=1):
        yield nested(element, f"{path}, item {number}")


def nested(value: Any, place: str) -> Row:
    """Return an object inside a row as a row; `UserError` where it is none."""
    if not isinstance(value, dict):
        raise UserError(f"{place} is {value!r:.60}, expected an object", hint="docs/data.md shows the format")
    return Row(place, value)


def text(row: Row, column: str) -> str:
    """Return a column as text, "" for null (an empty text is left out and counted, not refused).

    Raises `UserError` where the column is missing or holds something else than text.
    """
    if column in row.values and row.values[column] is None:
        return ""
    return row.text(column)


def texts(row: Row, prompt: str = "prompt", chosen: str = "chosen", rejected: str = "rejected") -> Texts:
    """Return the pair that stands in three columns of text."""
    return Texts(text(row, prompt), text(row, chosen), text(row, rejected))


def several(row: Row, column: str) -> list[Row]:
    """Return a column that holds a list of objects; none where it is missing or null."""
    value = row.values.get(column)
    if value is None:
        return []
    if not isinstance(value, list):
        raise UserError(
            f'{row.place}: "{column}" is {value!r:.60}, expected a list', hint="docs/data.md shows the format"
        )
    return [nested(each, f'{row.place}, "{column}" {number}') for number, each in enumerate(value, start=1)]


def user_of(row: Row, column: str | None, *, default: str | None = None) -> str | None:
    """Return whose row it is: by the column the caller named, else `default`, `user_id` or `user`."""
    if column is not None and column not in row.values:
        raise UserError(
            f'{row.place} has no column "{column}", it has {", ".join(row.values)}',
            hint="name one of these columns with --user-column",
        )
    for name in (column, default, *USER_COLUMNS):
        if name is not None and name in row.values:
            user = text(row, name).strip()
            if not user:
                raise UserError(
                    f'{row.place}: "{name}" is empty, expected a user',
                    hint="fill it in, or remove the row",
                )
            return user
    return None


def known_user(row: Row, column: str | None, *, default: str | None = None) -> str:
    """Return whose row it is; `UserError` where no column says so."""
    user = user_of(row, column, default=default)
    if user is None:
        raise UserError(
            f"{row.place} does not say whose preference it is, it has {', '.join(row.values)}",
            hint="name the column of the user with --user-column",
        )
    return user
