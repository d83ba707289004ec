"""personakit's own preference files (also those of lamp-mini): one user per line.

    {"user_id": "u1",
     "signals": {"pairs": [{"prompt", "chosen", "rejected"}], "comments": [...], "about": [...],
                 "items": [{"id", "fields": {...}, "document", "date"}]},
     "pairs": [{"prompt", "chosen", "rejected"}],
     "persona": "..."}

A summary is inferred from `signals` (oldest first) and evaluated on `pairs`. Every kind of signal and the
persona are optional. lamp-mini's `comment` and `demographics` are read as one entry of `comments` and
`about`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import orjson

from personakit.data.preferences.rows import (
    PreferenceRow,
    object_list,
    required_user_id,
    text,
    texts,
)
from personakit.data.skips import SkipCounts
from personakit.data.tables import TableRow, object_row
from personakit.errors import UserError
from personakit.files import atomic_file
from personakit.records import PreferencePair, PreferenceUser, ProfileItem, Signals

NAME = "preferences"
HAS_SIGNALS = True
FOLDER = "preferences"


def matches(columns: Set[str]) -> bool:
    """Return whether a row with these columns is in personakit's own format."""
    return {"signals", "pairs"} <= columns


def read(row: TableRow, skips: SkipCounts, user_column: str | None) -> PreferenceRow | None:
    """Return the row's user. Only the structure is validated."""
    signals = object_row(row.values.get("signals"), f'{row.place}, "signals"')
    return PreferenceRow(
        row.place,
        required_user_id(row, user_column),
        pairs=[texts(pair) for pair in object_list(row, "pairs")],
        signal_pairs=[texts(pair) for pair in object_list(signals, "pairs")],
        comments=[*_lines(signals, "comment"), *_lines(signals, "comments")],
        about=[*_lines(signals, "demographics"), *_lines(signals, "about")],
        items=[_item(item, number) for number, item in enumerate(object_list(signals, "items"), start=1)],
        persona=(text(row, "persona").strip() or None) if "persona" in row.values else None,
    )


def user_of_row(row: PreferenceRow) -> PreferenceUser:
    """Return the user of a row whose pairs have been divided."""
    user = row.user or ""
    return PreferenceUser(
        user,
        Signals(
            pairs=tuple(PreferencePair(user, *pair) for pair in row.signal_pairs),
            comments=tuple(row.comments),
            about=tuple(row.about),
            items=tuple(
                ProfileItem(item["id"], item["fields"], item["document"], item.get("date"))
                for item in row.items
            ),
        ),
        tuple(PreferencePair(user, *pair) for pair in row.pairs),
        row.persona,
    )


def record(user: PreferenceUser) -> dict[str, Any]:
    """Return a user as the JSON object of one line."""
    signals: dict[str, Any] = {"pairs": _pairs(user.signals.pairs)}
    for name in ("comments", "about"):
        if lines := getattr(user.signals, name):
            signals[name] = list(lines)
    if user.signals.items:
        signals["items"] = [
            {"id": item.id, "fields": dict(item.fields), "document": item.document}
            | ({} if item.date is None else {"date": item.date})
            for item in user.signals.items
        ]
    persona = {} if user.persona is None else {"persona": user.persona}
    return {"user_id": user.user_id, "signals": signals, "pairs": _pairs(user.pairs), **persona}


def write_users(path: Path, users: Iterable[PreferenceUser]) -> None:
    """Write one user per line, atomically."""
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        for user in users:
            file.write(orjson.dumps(record(user), option=orjson.OPT_APPEND_NEWLINE))


def _pairs(pairs: Sequence[PreferencePair]) -> list[dict[str, str]]:
    return [{"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected} for pair in pairs]


def _lines(row: TableRow, column: str) -> list[str]:
    """Return a column of one text or a list of texts as a list without empty texts."""
    value = row.values.get(column)
    values = [line for line in (value if isinstance(value, list) else [value]) if line is not None]
    for line in values:
        if not isinstance(line, str):
            raise UserError(
                f'{row.place}: "{column}" holds {line!r:.60}, expected a text',
                hint="write it as a text or a list of texts",
            )
    return [line for line in values if line.strip()]


def _item(row: TableRow, number: int) -> dict[str, Any]:
    fields = row.values.get("fields")
    if not isinstance(fields, Mapping) or not all(isinstance(value, str) for value in fields.values()):
        raise UserError(
            f'{row.place}: "fields" is {fields!r:.60}, expected an object of texts',
            hint='an item has the form {"id": "1", "fields": {"text": "..."}}',
        )
    item: dict[str, Any] = {"id": str(row.values.get("id", number)), "fields": dict(fields)}
    document = row.values.get("document")
    item["document"] = " ".join(fields.values()) if document is None else row.text("document")
    if row.values.get("date") is not None:
        item["date"] = row.text("date")
    return item
