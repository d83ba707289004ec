"""Reads a user history: a CSV, JSONL or Parquet file with one item per row.

Columns are matched by the task's item fields (LaMP_4: title, text; LaMP_3: text, score) or mapped by the
caller, for example `{"text": "body", "title": "subject"}`. Without a user column, all rows belong to one
user.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from personakit.data.lamp import checked_score, date_key
from personakit.data.lamp_formats import profile_item, task_format
from personakit.data.tables import TableRow, find_column, read_rows
from personakit.errors import UserError
from personakit.records import Profile, ProfileItem

ONE_USER = "me"


def read_history(
    path: Path,
    task: str,
    *,
    columns: Mapping[str, str] | None = None,
    user_column: str | None = None,
    date_column: str | None = None,
) -> list[Profile]:
    """Return the profile of each user in `path`, in the order of their first row, dated items oldest first.

    `columns` maps item fields to column names. `user_column` and `date_column` default to `user_id` and
    `date` if the file has them. An item's id is its `id` column, else its row number.

    Raises `UserError` with the line for a missing column or value, or a score outside 1 to 5.
    """
    format = task_format(task)
    unknown = set(columns or {}) - set(format.item_keys)
    if unknown:
        raise UserError(
            f'{task} items have no field "{min(unknown)}", they have {", ".join(format.item_keys)}',
            hint="write it as FIELD=COLUMN, for example text=body",
        )
    found: dict[str, str] = {}
    user: str | None = None
    date: str | None = None
    users: dict[str, list[ProfileItem]] = {}
    for number, row in enumerate(read_rows(path), start=1):
        if number == 1:
            names = list(row.values)
            found = {
                key: find_column(key, (columns or {}).get(key), names, row.place) for key in format.item_keys
            }
            user = _optional_column("user_id", user_column, row)
            date = _optional_column("date", date_column, row)
        fields = {key: row.text(column) for key, column in found.items()}
        if "score" in fields:
            fields["score"] = _score(fields["score"], found["score"], row)
        id = row.text("id") if row.values.get("id") is not None else str(number)
        item = profile_item(task, id, fields, _date(row, date))
        user_id = ONE_USER if user is None else row.text(user)
        users.setdefault(user_id, []).append(item)
    if not users:
        raise UserError(f"{path} has no rows, expected one per item", hint="add the user's items")
    return [Profile(user_id, _oldest_first(items)) for user_id, items in users.items()]


def _optional_column(name: str, given: str | None, row: TableRow) -> str | None:
    if given is None and name not in (column.casefold() for column in row.values):
        return None
    return find_column(name, given, list(row.values), row.place)


def _score(value: str, column: str, row: TableRow) -> str:
    score = checked_score(value)
    if score is None:
        raise UserError(
            f'{row.place}: "{column}" is "{value}", expected 1 to 5',
            hint="scores are whole numbers from 1 to 5: rescale or remove the row",
        )
    return score


def _date(row: TableRow, column: str | None) -> str | None:
    if column is None or row.values.get(column) in (None, ""):
        return None
    value = row.values[column]
    text = value.isoformat() if hasattr(value, "isoformat") else row.text(column)
    if not text[:4].isdigit():
        raise UserError(
            f'{row.place}: "{column}" is "{text}", expected a date with the year first, as 2012-10-05',
            hint="write dates as YYYY-MM-DD",
        )
    return text


def _oldest_first(items: list[ProfileItem]) -> tuple[ProfileItem, ...]:
    if any(item.date is None for item in items):
        return tuple(items)
    return tuple(sorted(items, key=lambda item: date_key(item.date or "")))
