"""Reads the rows of a CSV, JSONL or Parquet file, with their place for error messages."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from personakit.data.json_stream import unreadable
from personakit.errors import UserError

SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True, slots=True)
class TableRow:
    """One record. `place` is `FILE, line 3` (or `FILE, row 3` for a Parquet file)."""

    place: str
    values: Mapping[str, Any]

    def text(self, column: str) -> str:
        """Return a column as text; numbers are formatted. Raises `UserError` if it is missing or not text."""
        value = self.values.get(column)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(int(value)) if float(value).is_integer() else str(value)
        if not isinstance(value, str):
            found = "missing" if value is None else f"{value!r:.60}"
            raise UserError(
                f'{self.place}: "{column}" is {found}, expected a text', hint="fill it in, or remove the row"
            )
        return value


def read_rows(path: Path) -> Iterator[TableRow]:
    """Yield the rows of `path` in order. Its suffix gives the format: .csv (with a header), .jsonl, .parquet.

    Raises `UserError` with file and line for invalid content.
    """
    suffix = path.suffix.casefold()
    if path.is_dir():
        raise UserError(f"{path} is a folder, expected a data file", hint="give a file inside it")
    try:
        if suffix == ".csv":
            yield from _csv_rows(path)
        elif suffix in (".jsonl", ".ndjson"):
            yield from _jsonl_rows(path)
        elif suffix == ".parquet":
            yield from _parquet_rows(path)
        else:
            raise UserError(
                f'{path} ends in "{suffix}", expected one of {", ".join(SUFFIXES)}',
                hint="rename the file to its actual type, or convert it",
            )
    except OSError as error:
        raise unreadable(path, error) from error


def find_column(name: str, given: str | None, columns: Sequence[str], place: str) -> str:
    """Return the column for field `name`: the given one, else the column of that name in any case.

    Raises `UserError` if there is none; the message lists the columns.
    """
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
    raise UserError(
        f'{place} has no column "{name}", it has {", ".join(columns)}',
        hint=f"give the column, for example {name}={columns[0] if columns else 'COLUMN'}",
    )


def _csv_rows(path: Path) -> Iterator[TableRow]:
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle, strict=True)
        line = 1
        try:
            if not reader.fieldnames:
                raise UserError(
                    f"{path} is empty, expected a header line", hint="the first line names the columns"
                )
            line = reader.line_num + 1
            for values in reader:
                place = f"{path}, line {line}"
                if None in values or None in values.values():
                    found = "more" if None in values else "fewer"
                    raise UserError(
                        f"{place}: {found} values than the header's {len(reader.fieldnames)} columns",
                        hint='quote values that contain commas or line breaks: "a, b"',
                    )
                yield TableRow(place, values)
                line = reader.line_num + 1
        except csv.Error as error:
            raise UserError(
                f"{path}, line {line}: not valid CSV ({error})", hint='check its "quotes" and commas'
            ) from error
        except UnicodeDecodeError as error:
            raise _not_utf8(path, line, error) from error


def _jsonl_rows(path: Path) -> Iterator[TableRow]:
    with path.open("rb") as handle:
        for number, line in enumerate(handle, start=1):
            if not line.strip():
                continue
            try:
                values = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
            except orjson.JSONDecodeError as error:
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as encoding:
                    raise _not_utf8(path, number, encoding) from error
                raise UserError(
                    f"{path}, line {number}, column {error.colno}: not valid JSON ({error.msg})",
                    hint="JSONL has one complete JSON object per line",
                ) from error
            if not isinstance(values, dict):
                raise UserError(
                    f"{path}, line {number} holds {values!r:.60}, expected a JSON object",
                    hint="JSONL has one complete JSON object per line",
                )
            yield TableRow(f"{path}, line {number}", values)


def _parquet_rows(path: Path) -> Iterator[TableRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        number = 0
        for batch in file.iter_batches():
            for values in batch.to_pylist():
                number += 1
                yield TableRow(f"{path}, row {number}", values)
    except pa.ArrowInvalid as error:
        raise UserError(
            f"{path} is not a Parquet file: {error}", hint="write or download it again"
        ) from error


def _not_utf8(path: Path, line: int, error: UnicodeDecodeError) -> UserError:
    return UserError(
        f"{path}, line {line} or shortly after: byte {error.object[error.start]:#04x} is not UTF-8, "
        "expected a UTF-8 file",
        hint="convert it, for example with `iconv -f latin1 -t utf-8`",
    )
