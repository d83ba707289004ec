"""Reads CSV as spreadsheets write it: with commas, semicolons or tabs, a `sep=` line, blank rows."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

from personakit.data.missing import csv_value
from personakit.data.skips import SkipCounts
from personakit.data.utf8 import not_utf8
from personakit.errors import UserError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?\s*')
_QUOTED = re.compile(r'"[^"]*"')
BLANK = "blank rows"
UNNAMED = "values in columns without a name"


def csv_rows(handle: BinaryIO, name: str, counts: SkipCounts) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the values of every row of a UTF-8 file. Missing cells are None.

    The delimiter is that of a `sep=` line, else the most frequent one in the header. Spaces around column
    names are removed. Blank rows, and values in columns without a name, are left out and counted.

    Raises `UserError` with the line for invalid content.
    """
    csv.field_size_limit(sys.maxsize)
    text = io.TextIOWrapper(handle, encoding="utf-8", newline="")
    line = 1
    try:
        skipped, delimiter = _dialect(text)
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        columns = _columns(next(reader, []), name, delimiter)
        line = skipped + reader.line_num + 1
        for cells in reader:
            place = f"{name}, line {line}"
            line = skipped + reader.line_num + 1
            values = [csv_value(cell) for cell in cells]
            if all(value is None for value in values):
                counts.add(BLANK, place)
                continue
            if len(cells) < len(columns) or any(value is not None for value in values[len(columns) :]):
                found = "fewer" if len(cells) < len(columns) else "more"
                raise UserError(
                    f"{place}: {found} values than the header's {len(columns)} columns, "
                    f"separated by {DELIMITERS[delimiter]}",
                    hint=f"quote values that contain {DELIMITERS[delimiter]} or line breaks: "
                    f'"a{delimiter} b"',
                )
            counts.add(
                UNNAMED,
                place,
                sum(not column and value is not None for column, value in zip(columns, values, strict=False)),
            )
            yield place, {column: value for column, value in zip(columns, values, strict=False) if column}
    except csv.Error as error:
        raise UserError(
            f"{name}, line {line}: not valid CSV ({error})", hint='check its "quotes" and delimiters'
        ) from error
    except UnicodeDecodeError as error:
        place = f"{name}, line {line} or shortly after"
        raise not_utf8(place, error.object[error.start]) from error


def _dialect(text: io.TextIOWrapper) -> tuple[int, str]:
    """Go to the header. Return the number of lines before it, and the delimiter."""
    start = text.tell()
    first = text.readline()
    separator = _SEPARATOR_LINE.fullmatch(first)
    if separator is not None:
        return 1, separator.group(1)
    text.seek(start)
    found = Counter(_QUOTED.sub("", first))
    return 0, max(DELIMITERS, key=lambda delimiter: found[delimiter])  # the first of those that are equal


def _columns(header: list[str], name: str, delimiter: str) -> list[str]:
    columns = [column.strip() for column in header]
    if not any(columns):
        raise UserError(f"{name} is empty, expected a header line", hint="the first line names the columns")
    repeated = [column for column, count in Counter(columns).items() if column and count > 1]
    if repeated:
        raise UserError(
            f'{name} has {columns.count(repeated[0])} columns "{repeated[0]}" (separated by '
            f"{DELIMITERS[delimiter]}), expected different names",
            hint="rename or remove one of them",
        )
    return columns
