"""Reads the signals of a single user from a file: one signal per row, or one line of a preference file.

A row with `chosen` and `rejected` is a pair, with its prompt as in `trl.py`; a row with only `comment` or
`about` is a comment or a line about the user; an item of a profile with `draft` and `text` is an edit: the
user prefers the text to the draft. Any other row is a history item whose columns are its fields.
"""

from __future__ import annotations

from pathlib import Path

from personakit.data.lamp_formats import build_input
from personakit.data.missing import is_missing
from personakit.data.preferences import native, trl
from personakit.data.preferences.rows import EQUAL, PairTexts, PreferenceRow, source_rows, text
from personakit.data.preferences.store import remove_unusable
from personakit.data.skips import SkipCount, SkipCounts
from personakit.data.tables import TableRow
from personakit.errors import UserError
from personakit.records import PreferencePair, PreferenceUser, ProfileItem, Signals

_FORM = 'a row is {"prompt", "chosen", "rejected"}, {"comment"}, {"about"} or a history item such as {"text"}'


def read_signal_file(
    path: Path, user_id: str = "you", missing: SkipCounts | None = None
) -> tuple[PreferenceUser, dict[str, SkipCount]]:
    """Return the signals of a .json, .jsonl, .csv or .parquet file as a user, and counts of skipped rows.

    The user has held-out pairs only if the file is a line of a preference file. Empty and equal pairs are
    skipped; `missing` counts missing values. Raises `UserError` if the file is unreadable, holds several
    users, or has no usable signal.
    """
    skips = SkipCounts()
    rows = list(source_rows(path, missing=missing))
    if any(native.matches(row.values.keys()) for row in rows):
        return _one_user(path, rows, skips), dict(skips.report)
    pairs, comments, about, items = [], [], [], []
    for number, row in enumerate(rows, start=1):
        columns = {name for name, value in row.values.items() if value is not None}
        pair: PairTexts | None = None
        if {"chosen", "rejected"} <= columns:
            pair = trl.pair(row)
        elif {"draft", "text"} <= columns and not is_missing(row.values["draft"]):
            edit = _edit(row)
            pair = None if edit.problem() == EQUAL else edit  # the text of an unchanged draft is an item
        if pair is not None:
            problem = pair.problem()
            if problem is None:
                pairs.append(PreferencePair(user_id, *pair))
            else:
                skips.add(problem, row.place)
        elif columns == {"comment"}:
            comments.append(text(row, "comment"))
        elif columns == {"about"}:
            about.append(text(row, "about"))
        else:
            items.append(_item(row, columns, number))
    signals = Signals(
        tuple(pairs),
        tuple(text for text in comments if text.strip()),
        tuple(text for text in about if text.strip()),
        tuple(items),
    )
    if signals.empty:
        raise UserError(f"{path} holds no usable signals, expected at least one", hint=_FORM)
    return PreferenceUser(user_id, signals, ()), dict(skips.report)


def _edit(row: TableRow) -> PairTexts:
    """Return an edit as a comparison; its prompt is what the text answers, else the draft to be rewritten."""
    draft = text(row, "draft")
    request = None if is_missing(row.values.get("request")) else text(row, "request")
    return PairTexts(request or build_input("rewriting", original=draft), text(row, "text"), draft)


def _one_user(path: Path, rows: list[TableRow], skips: SkipCounts) -> PreferenceUser:
    if len(rows) != 1:
        raise UserError(
            f"{path} holds {len(rows)} users, expected one",
            hint="keep one user's line, or select a user of the data with --user",
        )
    row: PreferenceRow | None = native.read(rows[0], SkipCounts(), None)
    assert row is not None
    remove_unusable(row, skips)
    return native.user_of_row(row)


def _item(row: TableRow, columns: set[str], number: int) -> ProfileItem:
    if not columns:
        raise UserError(f"{row.place} is empty, expected a signal", hint=_FORM)
    fields = {
        name: text(row, name)
        for name in row.values
        if name in columns - {"id", "date"} and not (name == "draft" and "text" in columns)
    }
    id = str(row.values.get("id") or number)
    return ProfileItem(id, fields, " ".join(fields.values()))
