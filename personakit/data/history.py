"""Reads a user history: a CSV, JSON, JSONL or Parquet file with one item per row.

Columns are matched by the task's item fields (LaMP_4: title, text; LaMP_3: text, score) or mapped by the
caller, for example `{"text": "body", "title": "subject"}`. Without a user column, all rows belong to one
user. A conversation is a history of its user's messages, for tasks whose items have a text only (LaMP_7).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from personakit.data.dates import date_key, read_dates
from personakit.data.json_rows import CONVERSATIONS
from personakit.data.lamp import checked_score
from personakit.data.lamp_formats import TaskFormat, profile_item, task_format
from personakit.data.missing import is_missing
from personakit.data.preferences.conversations import turns
from personakit.data.skips import SkipCounts
from personakit.data.tables import TableRow, column_names, find_column, leave_out, no_usable_row, read_rows
from personakit.errors import UserError
from personakit.records import Profile, ProfileItem

ONE_USER = "me"


def read_history(
    path: Path,
    task: str,
    *,
    columns: Mapping[str, str] | None = None,
    counts: SkipCounts | None = None,
) -> list[Profile]:
    """Return the profile of each user in `path`, in the order of their first row, dated items oldest first.

    `columns` maps item fields, `user_id` and `date` to column names; by default they have their own names,
    and the last two may be missing. An item's id is its `id` column, else its row number. Rows without a
    field that the task needs are left out. They are counted in `counts`, as are missing and invalid dates; an
    item without a date comes before those with one.

    Raises `UserError` with the line for a missing column, or a score outside 1 to 5.
    """
    format = task_format(task)
    found_counts = SkipCounts() if counts is None else counts
    known = (*format.item_keys, "user_id", "date")
    unknown = set(columns or {}) - set(known)
    if unknown:
        raise UserError(
            f'{task} items have no field "{min(unknown)}", they have {", ".join(known)}',
            hint="write it as FIELD=COLUMN, for example text=body",
        )
    rows = list(_messages(list(read_rows(path, found_counts)), format, columns))
    place = "stdin" if str(path) == "-" else path
    if not rows:
        line = json.dumps(dict.fromkeys(format.item_keys, "..."))
        raise UserError(
            f"{place} has no rows, expected one per item",
            hint=f"give JSONL, lines such as {line}, or CSV with the columns {', '.join(format.item_keys)}",
        )
    names = set(map(str.casefold, column_names(rows)))
    fields = {
        key: find_column(key, (columns or {}).get(key), rows)
        for key in known
        if key in (columns or {}) or key in names or key in set(format.item_keys) - set(format.may_be_empty)
    }
    user, date = fields.pop("user_id", None), fields.pop("date", None)
    needed = [column for key, column in fields.items() if key not in format.may_be_empty]
    needed += [] if user is None else [user]
    kept = [
        (number, row) for number, row in enumerate(rows, start=1) if not leave_out(row, needed, found_counts)
    ]
    if not kept:
        raise no_usable_row(place, found_counts)
    dates: list[str | None] = [None] * len(kept)
    if date is not None:
        dates = read_dates([(row.place, row.values.get(date)) for _, row in kept], date, found_counts)
    users: dict[str, list[ProfileItem]] = {}
    for (number, row), item_date in zip(kept, dates, strict=True):
        texts = dict.fromkeys(format.item_keys, "")
        texts |= {
            key: row.text(column)
            for key, column in fields.items()
            if key not in format.may_be_empty or not is_missing(row.values.get(column))
        }
        if "score" in texts:
            texts["score"] = _score(texts["score"], fields["score"], row)
        id = str(number) if is_missing(row.values.get("id")) else row.text("id")
        user_id = ONE_USER if user is None else row.text(user)
        users.setdefault(user_id, []).append(profile_item(task, id, texts, item_date))
    return [Profile(user_id, _oldest_first(items)) for user_id, items in users.items()]


def _messages(
    rows: list[TableRow], format: TaskFormat, columns: Mapping[str, str] | None
) -> Iterator[TableRow]:
    """Yield a row for each message of the user, where rows are conversations and items have a text only."""
    names = column_names(rows)
    found = [name for name in CONVERSATIONS if name in names]
    has_text = "text" in (columns or {}) or "text" in map(str.casefold, names)
    if has_text or not found or format.item_keys != ("text",):
        yield from rows
        return
    for row in rows:
        place = f'{row.place}, "{found[0]}"'
        others = {name: value for name, value in row.values.items() if name not in (found[0], "id")}
        conversation = row.values.get(found[0])
        if not isinstance(conversation, list):
            raise UserError(
                f"{place} is {conversation!r:.60}, expected a list of messages", hint="remove the row"
            )
        for role, content in turns(conversation, place):
            if role == "user":
                yield TableRow(place, {**others, "text": content})


def _score(value: str, column: str, row: TableRow) -> str:
    score = checked_score(value)
    if score is None:
        raise UserError(
            f'{row.place}: "{column}" is "{value}", expected 1 to 5',
            hint="scores are whole numbers from 1 to 5: rescale or remove the row",
        )
    return score


def _oldest_first(items: list[ProfileItem]) -> tuple[ProfileItem, ...]:
    return tuple(sorted(items, key=lambda item: () if item.date is None else date_key(item.date)))
