"""Pairs of draft and final text: a table with the columns `draft` and `final`, or a profile with drafts.

`user_id` and `date` are read if the table has them; other names are mapped by the caller. A profile has the
columns of `profile.Item`: `text`, and in some rows `draft` (edits that were learned) and `request`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from personakit.data.dates import read_dates
from personakit.data.missing import is_missing
from personakit.data.own.profile import REPLACED, YES
from personakit.data.own.records import ONLY_PERSON, Archive, Person, Record, SimpleArchive
from personakit.data.skips import SkipCounts
from personakit.data.tables import TableRow, column_names, find_column, leave_out, no_usable_row, read_rows
from personakit.errors import UserError

COLUMNS = ("draft", "final")
PROFILE_COLUMNS = ("draft", "text")
_OTHERS = ("user_id", "date")
_NAME = re.compile(r"[^\W\d_a-z][^\d_@]*")


def open_pairs(source: Path, counts: SkipCounts, columns: Mapping[str, str]) -> Archive:
    """Open a table of pairs. Raises `UserError` for a missing column, or dates that cannot be read."""
    return _open(source, counts, columns, COLUMNS, _OTHERS)


def open_profile(source: Path, counts: SkipCounts, columns: Mapping[str, str]) -> Archive:
    """Open a profile. Raises `UserError` as `open_pairs`."""
    return _open(source, counts, columns, ("text",), ("draft", "request", *_OTHERS))


def profile_texts(
    source: Path, user: str | None, counts: SkipCounts, columns: Mapping[str, str] | None = None
) -> list[Record]:
    """Return the texts of a profile, only those of `user` if given. Raises `UserError` if there are none."""
    archive = open_profile(source, counts, columns or {})
    users = dict.fromkeys(person.id for person in archive.writers())
    if user is not None and user not in users:
        raise UserError(f'{source} has no user "{user}"', hint=f"it has {', '.join([*users][:5])}")
    return list(archive.records(lambda person: user in (None, person.id)))


def _open(
    source: Path,
    counts: SkipCounts,
    columns: Mapping[str, str],
    needed: Sequence[str],
    optional: Sequence[str],
) -> Archive:
    unknown = set(columns) - {*needed, *optional}
    if unknown:
        kind = "profiles" if needed == ("text",) else "pairs"
        raise UserError(
            f'{kind} have no field "{min(unknown)}", they have {", ".join((*needed, *optional))}',
            hint="write it as FIELD=COLUMN, for example final=sent",
        )
    records = list(_records(source, counts, columns, needed, optional))
    return SimpleArchive(lambda _: records, counts)


def _records(
    source: Path,
    counts: SkipCounts,
    columns: Mapping[str, str],
    needed: Sequence[str],
    optional: Sequence[str],
) -> Iterator[Record]:
    rows = list(read_rows(source, counts))
    if not rows:
        raise UserError(f"{source} has no rows, expected one per text", hint="add rows")
    names = column_names(rows)
    fields = {name: find_column(name, columns.get(name), rows) for name in needed}
    fields |= {
        name: find_column(name, columns.get(name), rows)
        for name in optional
        if name in columns or name in map(str.casefold, names)
    }
    user, final, is_profile = fields.get("user_id"), fields[needed[-1]], "request" in optional
    required = [*(fields[name] for name in needed), *([] if user is None else [user])]
    kept = [row for row in rows if not leave_out(row, required, counts)]
    if not kept:
        raise no_usable_row(source, counts)
    dates: list[str | None] = [None] * len(kept)
    if "date" in fields:
        values = [(row.place, row.values.get(fields["date"])) for row in kept]
        dates = read_dates(values, fields["date"], counts)
    for row, date in zip(kept, dates, strict=True):
        writer = ONLY_PERSON if user is None else _user(row.text(user))
        draft, request = (_optional(row, fields.get(name)) for name in ("draft", "request"))
        replaced = is_profile and row.values.get(REPLACED) == YES
        yield Record(
            writer, row.text(final), row.place, date=date, request=request, draft=draft, replaced=replaced
        )


def _user(value: str) -> Person:
    """Return the person of a user column, which has names or ids: a name begins with a capital letter."""
    return Person.named(value) if _NAME.fullmatch(value) else Person(value)


def _optional(row: TableRow, column: str | None) -> str | None:
    return None if column is None or is_missing(row.values.get(column)) else row.text(column)
