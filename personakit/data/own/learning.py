"""Adds what a user made of an answer to their profile file: the final text, with the answer as its draft.

Readers of histories take the text; the draft is in a field of its own, which no retriever sees.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from personakit.data.lamp_formats import task_format
from personakit.data.missing import is_missing
from personakit.data.own.profile import REPLACED, text_id
from personakit.data.queries import PREFERENCE
from personakit.errors import UserError
from personakit.files import atomic_file, json_text

_LONGEST_WAIT = 30  # seconds
_LINES = (".jsonl", ".ndjson")
_FORM = 'a line is {"id": "1", "date": "2024-05-01", "text": "..."}'


@dataclass(frozen=True, slots=True)
class Edit:
    """A final text, the answer that it was made from, if any, and the message that it answers, if any."""

    text: str
    draft: str | None
    request: str | None = None


@dataclass(frozen=True, slots=True)
class Learned:
    """What became of an edit: a new item, a draft for the item with its text, or nothing, as it was known."""

    outcome: Literal["added", "draft added", "known"]
    items: int


def check_learnable(path: Path, task: str, columns: Mapping[str, str] | None = None) -> None:
    """Raise `UserError` unless edits can be added to the file, as items of the task or as signals."""
    keys = ("text",) if task == PREFERENCE else task_format(task).item_keys
    if "text" not in keys or set(keys) - {"text", "request"}:
        raise UserError(
            f"items of {task} have {', '.join(keys)}, expected own texts to learn an edit from",
            hint="--task LaMP_7 (rewrites) or --task writing (answers to messages)",
        )
    _Lines(path, columns or {})
    # a file that cannot be written is found before anything is answered
    with _system_errors(path):
        if path.exists():
            path.open("ab").close()
    with _locked(path):
        pass


def learn(
    path: Path,
    edits: Sequence[Edit],
    columns: Mapping[str, str] | None = None,
    *,
    now: datetime | None = None,
) -> list[Learned]:
    """Add edits to a profile file, atomically; a text that is there with its draft is not added again.

    Processes that learn at the same time take turns.
    `columns` maps `text` and `request` to columns. `now` is the date of the new items: none is written where
    the items have no dates. Raises `UserError` for an empty text, and a file that is no JSONL of one user.
    """
    with _locked(path):
        lines = _Lines(path, columns or {})
        found = [lines.learn(edit, now or datetime.now(UTC)) for edit in edits]
        if any(each.outcome != "known" for each in found):
            lines.write()
    return found


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time read and write the file: another waits for the moment that it takes."""
    file = path.resolve()
    try:
        with _system_errors(path), FileLock(file.with_name(f".{file.name}.lock"), timeout=_LONGEST_WAIT):
            yield
    except Timeout as error:
        raise UserError(
            f"{path}: another process has been writing to it for {_LONGEST_WAIT} s", hint="wait for it"
        ) from error


@contextmanager
def _system_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except Timeout:  # an OSError
        raise
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror})", hint="check the permissions of file and folder"
        ) from error


class _Lines:
    """A JSONL file, of which only the lines that change are written anew."""

    def __init__(self, path: Path, columns: Mapping[str, str]) -> None:
        self._path, self._columns = path.resolve(), columns
        if path.is_dir() or path.suffix.casefold() not in _LINES or (path.exists() and not path.is_file()):
            kind = "a folder" if path.is_dir() else f'a file that ends in "{path.suffix}"'
            raise UserError(
                f"{path} is {kind}, expected a JSONL file to add the text to",
                hint="personakit data import writes one (profile.jsonl), or save the profile as JSONL",
            )
        try:
            self._lines = path.read_bytes().splitlines(keepends=True)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}", hint="check path and permissions") from error
        self._rows = {
            number: self._row(path, number, line) for number, line in enumerate(self._lines) if line.strip()
        }
        self._names = dict.fromkeys(name for row in self._rows.values() for name in row)
        text_name, user_name = self._name("text"), self._name("user_id")
        self._numbers: dict[str, int] = {}
        for number, row in self._rows.items():
            if isinstance(text := row.get(text_name), str):
                self._numbers.setdefault(text.strip(), number)
        users = (row.get(user_name) for row in self._rows.values())
        #: The user's id where the rows have one: the file has one user, as its readers check.
        self._user = next((user for user in users if not is_missing(user)), None)

    @staticmethod
    def _row(path: Path, number: int, line: bytes) -> dict[str, Any]:
        try:
            row = json.loads(line.decode("utf-8-sig" if number == 0 else "utf-8"))
        except ValueError as error:
            raise UserError(
                f"{path}, line {number + 1}: not a JSON object on one line", hint=_FORM
            ) from error
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number + 1}: {row!r:.40}, expected a JSON object", hint=_FORM)
        return row

    def learn(self, edit: Edit, now: datetime) -> Learned:
        text = edit.text.strip()
        if not text:
            raise UserError("the final text is empty, expected what was sent", hint="give the text")
        draft_name = self._name("draft")
        if (number := self._numbers.get(text)) is not None:
            row = self._rows[number]
            if edit.draft is None or not is_missing(row.get(draft_name)):
                return Learned("known", len(self._rows))
            row[draft_name] = edit.draft
            row.pop(REPLACED, None)  # the draft may have real names
            self._put(number, row)
            return Learned("draft added", len(self._rows))
        date = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S") if self._dated else None
        new = {self._name("id"): text_id(date, text)}
        if date is not None:
            new[self._name("date")] = date
        if self._user is not None:
            new[self._name("user_id")] = self._user
        if edit.request is not None or self._name("request") in self._names:
            new[self._name("request")] = edit.request or ""
        if self._lines and not self._lines[-1].endswith(b"\n"):
            self._lines[-1] += b"\n"
        self._lines.append(b"")
        if edit.draft is not None or draft_name in self._names:
            new[draft_name] = edit.draft or ""
        self._numbers[text] = len(self._lines) - 1
        self._put(self._numbers[text], {**new, self._name("text"): text})
        return Learned("added", len(self._rows))

    def write(self) -> None:
        with atomic_file(self._path) as temporary:
            temporary.write_bytes(b"".join(self._lines))

    @property
    def _dated(self) -> bool:
        return not self._rows or self._name("date") in self._names

    def _name(self, field: str) -> str:
        """Return the column of a field, as the file spells it."""
        if field in self._columns:
            return self._columns[field]
        return next((name for name in self._names if name.casefold() == field), field)

    def _put(self, number: int, row: dict[str, Any]) -> None:
        self._rows[number] = row
        self._names |= dict.fromkeys(row)
        self._lines[number] = (json_text(row) + "\n").encode()
