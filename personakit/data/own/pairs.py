"""Pairs of draft and final text: a table with the columns `draft` and `final`.

`user_id` (or `writer`) and `date` are read if the table has them; other names are mapped by the caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from personakit.data.dates import read_dates
from personakit.data.own.records import ONLY_PERSON, Archive, Person, Record, SimpleArchive
from personakit.data.skips import SkipCounts
from personakit.data.tables import column_names, find_column, leave_out, no_usable_row, read_rows
from personakit.errors import UserError

COLUMNS = ("draft", "final")
_OTHERS = ("user_id", "date")


def open_pairs(source: Path, counts: SkipCounts, columns: Mapping[str, str]) -> Archive:
    """Open a table of pairs. Raises `UserError` for a missing column, or dates that cannot be read."""
    unknown = set(columns) - {*COLUMNS, *_OTHERS}
    if unknown:
        raise UserError(
            f'pairs have no field "{min(unknown)}", they have {", ".join((*COLUMNS, *_OTHERS))}',
            hint="write it as FIELD=COLUMN, for example final=sent",
        )
    records = list(_records(source, counts, columns))
    return SimpleArchive(lambda _: records, counts)


def _records(source: Path, counts: SkipCounts, columns: Mapping[str, str]) -> Iterator[Record]:
    rows = list(read_rows(source, counts))
    if not rows:
        raise UserError(f"{source} has no rows, expected one per pair", hint="add rows")
    names, first = column_names(rows), rows[0].place
    draft, final = (find_column(name, columns.get(name), names, first) for name in COLUMNS)
    others = {
        name: find_column(name, columns.get(name), names, first)
        for name in _OTHERS
        if name in columns or name in map(str.casefold, names)
    }
    user = others.get("user_id")
    needed = [draft, final, *([] if user is None else [user])]
    kept = [row for row in rows if not leave_out(row, needed, counts)]
    if not kept:
        raise no_usable_row(source, counts)
    dates: list[str | None] = [None] * len(kept)
    if "date" in others:
        values = [(row.place, row.values.get(others["date"])) for row in kept]
        dates = read_dates(values, others["date"], counts)
    for row, date in zip(kept, dates, strict=True):
        writer = ONLY_PERSON if user is None else Person(row.text(user))
        yield Record(writer, row.text(final), row.place, date=date, draft=row.text(draft))
