"""The common row type of all preference formats, and counts of skipped data.

Every format reads a row as a `PreferenceRow`. Dividing pairs into signals and held-out pairs comes later
(`signal_split.py`), because most formats do not divide them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from personakit.data.skips import SkipCounts
from personakit.data.tables import TableRow, find_column, object_row, read_rows
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
IS_AN_ANSWER = "signals (comments, lines about the user, items) that repeat a held-out answer"


class PairTexts(NamedTuple):
    """The three texts of a preference pair."""

    prompt: str
    chosen: str
    rejected: str

    def problem(self) -> str | None:
        """Return why the pair is unusable, or None."""
        if not (self.prompt.strip() and self.chosen.strip() and self.rejected.strip()):
            return EMPTY
        return EQUAL if self.chosen.strip() == self.rejected.strip() else None


@dataclass(slots=True)
class PreferenceRow:
    """One row of any format.

    `user` is None if the row has no user id. `pairs` are the row's own comparisons; `signal_pairs`,
    `comments`, `about` and `items` its other information on the user (`items` in the form of `native.py`).
    """

    place: str
    user: str | None
    pairs: list[PairTexts] = field(default_factory=list)
    signal_pairs: list[PairTexts] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    about: list[str] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)
    persona: str | None = None


def source_rows(
    path: Path, columns: Mapping[str, str] | None = None, missing: SkipCounts | None = None
) -> Iterator[TableRow]:
    """Yield the rows of a data file (`read_rows`), with fields renamed.

    `columns` maps fields to column names. Raises `UserError` with file and place for invalid content.
    """
    for row in read_rows(path, missing):
        if columns:
            values = dict(row.values)
            for name, column in columns.items():
                values[name] = values.pop(find_column(name, column, [TableRow(row.place, values)]))
            row = TableRow(row.place, values)
        yield row


def text(row: TableRow, column: str) -> str:
    """Return a column as text, or "" for null (empty texts are skipped later instead of refused).

    Raises `UserError` if the column is missing or not text.
    """
    if column in row.values and row.values[column] is None:
        return ""
    return row.text(column)


def texts(
    row: TableRow, prompt: str = "prompt", chosen: str = "chosen", rejected: str = "rejected"
) -> PairTexts:
    """Return the pair in three text columns."""
    return PairTexts(text(row, prompt), text(row, chosen), text(row, rejected))


def object_list(row: TableRow, column: str) -> list[TableRow]:
    """Return a column with a list of objects as rows. It is empty if the column is missing or null."""
    value = row.values.get(column)
    if value is None:
        return []
    if not isinstance(value, list):
        raise UserError(
            f'{row.place}: "{column}" is {value!r:.60}, expected a list', hint="docs/data.md shows the format"
        )
    return [
        object_row(element, f'{row.place}, "{column}" {number}')
        for number, element in enumerate(value, start=1)
    ]


def user_id_or_none(row: TableRow, column: str | None, *, default: str | None = None) -> str | None:
    """Return the user id of a row, from `column` if given, else from `default`, `user_id` or `user`."""
    if column is not None and column not in row.values:
        raise UserError(
            f'{row.place} has no column "{column}", it has {", ".join(row.values)}',
            hint="choose one of these with --column user_id=COLUMN",
        )
    for name in (column, default, *USER_COLUMNS):
        if name is not None and name in row.values:
            user = text(row, name).strip()
            if not user:
                raise UserError(
                    f'{row.place}: "{name}" is empty, expected a user id',
                    hint="fill it in, or remove the row",
                )
            return user
    return None


def required_user_id(row: TableRow, column: str | None, *, default: str | None = None) -> str:
    """Return the user id of a row. Raises `UserError` if no column has it."""
    user = user_id_or_none(row, column, default=default)
    if user is None:
        raise UserError(
            f"{row.place} has no user id, its columns are {', '.join(row.values)}",
            hint="name the user column with --column user_id=COLUMN",
        )
    return user
