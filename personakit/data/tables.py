"""Reads the rows of a data file (CSV, JSON, JSONL or Parquet), with their place for error messages.

All readers of tables use `read_rows`. The content decides about the format; the suffix only where the content
may be either.
"""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from personakit.data.csv_rows import BLANK, csv_rows
from personakit.data.json_rows import json_rows
from personakit.data.json_stream import unreadable
from personakit.data.missing import is_missing, without_missing
from personakit.data.skips import SkipCounts, counted
from personakit.data.standard_input import read_stdin
from personakit.data.utf8 import utf8
from personakit.errors import UserError

_CSV = (".csv", ".tsv")
SUFFIXES = (*_CSV, ".json", ".jsonl", ".ndjson", ".parquet")
_JSON_START = re.compile(rb'\s*(?:\{\s*"|\[\s*\{)')


@dataclass(frozen=True, slots=True)
class TableRow:
    """One record. `place` is `FILE, line 3`, or `FILE, item 3` of a JSON list, or `FILE, row 3` of Parquet.

    A missing value is None (`missing.py`).
    """

    place: str
    values: Mapping[str, Any]

    def text(self, column: str) -> str:
        """Return a column as text; numbers are formatted. Raises `UserError` if it is missing or not text."""
        value = self.values.get(column)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return str(int(value)) if float(value).is_integer() else str(value)
        if not isinstance(value, str):
            found = "missing" if value is None else f"{value!r:.60}"
            raise UserError(
                f'{self.place}: "{column}" is {found}, expected a text', hint="fill it in, or remove the row"
            )
        if "\0" in value:
            raise UserError(
                f'{self.place}: "{column}" has a NUL character, expected a text', hint="remove it"
            )
        return value


def read_rows(path: Path, counts: SkipCounts | None = None) -> Iterator[TableRow]:
    """Yield the rows of `path` in order; `-` is stdin, with CSV or JSON.

    Blank rows are left out. They and missing values are counted in `counts`. Raises `UserError` with file and
    line for invalid content.
    """
    found = SkipCounts() if counts is None else counts
    if path.is_dir():
        raise UserError(f"{path} is a folder, expected a data file", hint="give a file inside it")
    try:
        for place, value in _values(path, found):
            if not isinstance(value, dict):
                raise UserError(
                    f"{place} holds {value!r:.60}, expected a JSON object",
                    hint="a row is an object of columns: docs/data.md shows the formats",
                )
            row = TableRow(place, without_missing(value))
            missing = [name for name, element in row.values.items() if element is None]
            if missing and len(missing) == len(row.values):
                found.add(BLANK, place)
                continue
            for name in missing:
                found.add(f'missing values of "{name}"', place)
            yield row
    except OSError as error:
        raise unreadable(path, error) from error


def object_row(value: Any, place: str) -> TableRow:
    """Return an object as a row. Raises `UserError` if it is something else."""
    if not isinstance(value, dict):
        raise UserError(
            f"{place} is {value!r:.60}, expected an object", hint="docs/data.md shows the formats"
        )
    return TableRow(place, value)


def leave_out(row: TableRow, needed: Sequence[str], counts: SkipCounts) -> bool:
    """Return whether a needed value of the row is empty or missing, and count the row.

    Raises `UserError` if the row lacks the column.
    """
    for column in needed:
        if column not in row.values:
            row.text(column)  # raises: this row has another form
        if is_missing(row.values[column]):
            counts.add(f'rows left out because "{column}" is empty or missing', row.place)
            return True
    return False


def no_usable_row(place: object, counts: SkipCounts) -> UserError:
    """Return the error for a file of which every row was left out, with the reasons."""
    reasons = (
        f"{counted(count.count, reason)} (first: {count.first})" for reason, count in counts.report.items()
    )
    return UserError(f"{place} has no usable row: {'; '.join(reasons)}", hint="fill in the missing values")


def column_names(rows: Sequence[TableRow]) -> list[str]:
    """Return the columns of all rows, in the order of their first occurrence."""
    return list(dict.fromkeys(name for row in rows for name in row.values))


def find_column(name: str, given: str | None, rows: Sequence[TableRow]) -> str:
    """Return the column for field `name`: the given one, else the column of that name in any case.

    Raises `UserError` if there is none; the message lists the columns, and proposes the one of most text.
    """
    columns, place = column_names(rows), rows[0].place
    if given is not None:
        if given in columns:
            return given
        raise UserError(
            f'{place} has no column "{given}" (given for {name}), it has {", ".join(columns)}',
            hint="choose one of these columns",
        )
    for column in columns:
        if column.casefold() == name.casefold():
            return column
    texts: Counter[str] = Counter()
    for row in rows:
        texts.update({column: len(value) for column, value in row.values.items() if isinstance(value, str)})
    proposed = max(texts, key=texts.__getitem__, default="COLUMN")
    raise UserError(
        f'{place} has no column "{name}", it has {", ".join(columns)}',
        hint=f"give the column, for example --column {shlex.quote(f'{name}={proposed}')}",
    )


def _values(path: Path, counts: SkipCounts) -> Iterator[tuple[str, Any]]:
    stdin, suffix = str(path) == "-", path.suffix.casefold()
    if suffix not in SUFFIXES and not stdin:
        raise UserError(
            f'{path} ends in "{suffix}", expected one of {", ".join(SUFFIXES)}',
            hint="rename the file to its actual type, or convert it",
        )
    with BytesIO(read_stdin("rows")) if stdin else path.open("rb") as handle:
        path = Path("stdin") if stdin else path  # in messages
        is_parquet = handle.read(4) == b"PAR1"
        handle.seek(0)
        if suffix == ".parquet" or (is_parquet and not stdin):
            yield from _parquet_rows(path)
            return
        text = utf8(handle, str(path))
        start = text.tell()
        is_json = suffix not in (*_CSV, "") or _JSON_START.match(text.read(1 << 12))
        text.seek(start)
        yield from json_rows(text, path, counts) if is_json else csv_rows(text, str(path), counts)


def _parquet_rows(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches():
            for values in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", values
    except pa.ArrowInvalid as error:
        raise UserError(
            f"{path} is not a Parquet file: {error}", hint="write or download it again"
        ) from error
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise UserError(
            f"{path}, after row {number}: cannot be read ({error})", hint="write or download it again"
        ) from error
