"""LaMP files: `{split}_questions.json`, `{split}_outputs.json`, and prediction files.

Questions are a JSON list of `{"id", "input", "profile": [item, ...]}`; time-based files add `user_id`, and
`date` to each item. Outputs and predictions are `{"task", "golds": [{"id", "output"}]}`
(LaMP-Benchmark/LaMP @ 38c9d4d). All questions of a file belong to one task.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personakit.data.dates import date_key
from personakit.data.json_stream import stream_list, unreadable
from personakit.data.json_text import loads
from personakit.data.lamp_formats import (
    SCORES,
    TaskFormat,
    parse_input,
    profile_item,
    recognise_task,
    search_text,
    task_format,
)
from personakit.errors import UserError
from personakit.files import atomic_file
from personakit.records import Example, Profile, ProfileItem, Query

QUESTIONS = "_questions.json"
OUTPUTS = "_outputs.json"
_DATE = re.compile(r"\d{4}")
_EMAIL_FILE = re.compile(r"\d+-\d+-\w+\.txt")
_INTEGRAL_SCORE = re.compile(r"([1-5])(\.0*)?")


class MissingEmailsError(UserError):
    """A LaMP_6 file as published, with the names of e-mails instead of their texts."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """A gold or prediction file: its task as written, and the text for each query id.

    `duplicates` lists repeated ids. As in LaMP's evaluation, `texts` holds the last text of each.
    """

    task: str
    texts: Mapping[str, str]
    duplicates: tuple[str, ...]


def read_questions(path: Path, *, task: str | None = None) -> Iterator[Example]:
    """Yield the questions of `path` as a stream, validated one by one.

    `query.gold` is None (join with `read_outputs`), and `user_id` is "" if the file has none
    (`store.open_store` derives one). `task` is recognised from the inputs if not given.

    Raises `UserError` with file, item number and value for an invalid question.
    """
    checks = QuestionChecks(path, task)
    for raw in stream_list(path):
        yield checks.example(raw)


class QuestionChecks:
    """Converts the parsed elements of one questions file to `Example`s in order, or raises `UserError`.

    `format` and `has_user_ids` are known after the first element.
    """

    def __init__(self, path: Path, task: str | None = None) -> None:
        self.path = path
        self.format: TaskFormat | None = None if task is None else task_format(task)
        self._task_given = task is not None
        self._item_number = 0
        self.has_user_ids = False
        self._numbers_by_id: dict[str, int] = {}

    def example(self, raw: Any) -> Example:
        """Return the next element as an `Example`, with its items oldest first."""
        place = f"item {self._item_number + 1}"
        if not isinstance(raw, dict):
            raise self._error(f"is {_preview(raw)}, expected an object with id, input and profile", place)
        id = self._text(raw, "id", place)
        place = self._place(id)
        text = self._text(raw, "input", place)
        user_id = self._text(raw, "user_id", place) if "user_id" in raw else None
        profile = raw.get("profile")
        if not isinstance(profile, list):
            found = _preview(profile) if "profile" in raw else "missing"
            raise self._error(f'"profile" is {found}, expected a list of items', place, hint=_HINT_PROFILE)
        self.check_question(id, text, user_id)
        assert self.format is not None
        task = self.format.task
        query = Query(id, task, text, search_text(task, text), user_id or "")
        return Example(query, Profile(user_id or "", self._items(profile, place)))

    def check_question(self, id: str, text: str, user_id: str | None) -> None:
        """Validate the next question except for its profile. `example` calls this itself."""
        place = self._place(id)
        self._item_number += 1
        if not id:
            raise self._error('"id" is empty, expected a unique text', place)
        if self._item_number == 1:
            self.has_user_ids = user_id is not None
        if self.has_user_ids != (user_id is not None):
            found = "missing" if user_id is None else "given"
            raise self._error(f'"user_id" is {found}, unlike in earlier items', place, hint=_HINT_USER)
        if user_id == "":
            raise self._error('"user_id" is empty, expected the id of a user', place, hint=_HINT_USER)
        if id in self._numbers_by_id:
            raise self._error(
                f'"id" is already used by item {self._numbers_by_id[id]}, expected unique ids', place
            )
        self._numbers_by_id[id] = self._item_number
        self._check_input(text, place)

    def _place(self, id: str) -> str:
        return f'item {self._item_number + 1} (id "{id}")' if id else f"item {self._item_number + 1}"

    def _items(self, raw_profile: list[Any], place: str) -> tuple[ProfileItem, ...]:
        items = [
            self._item(raw, f"{place}, profile item {number}")
            for number, raw in enumerate(raw_profile, start=1)
        ]
        undated = sum(item.date is None for item in items)
        if 0 < undated < len(items):
            raise self._error(
                f'{undated} of {len(items)} profile items have no "date", expected all or none',
                place,
                hint="in the time-based split all items have dates, in the user-based split none has",
            )
        return tuple(items if undated else sorted(items, key=lambda item: date_key(item.date or "")))

    def _item(self, raw: Any, place: str) -> ProfileItem:
        assert self.format is not None
        if not isinstance(raw, dict):
            raise self._error(f"is {_preview(raw)}, expected an object", place)
        id = self._text(raw, "id", place)
        if not id:
            raise self._error('"id" is empty, expected a text', place)
        fields = {}
        for key in self.format.item_keys:
            value = raw.get(key)
            if key == "score":
                fields[key] = self._score(raw, place)
            elif value is None and key not in raw:
                raise self._error(
                    f'"{key}" is missing, expected it in every {self.format.task} item',
                    place,
                    hint=f"{self.format.task} items have the keys id, {', '.join(self.format.item_keys)}",
                )
            else:
                fields[key] = self._text(raw, key, place)
        date = raw.get("date")
        if date is not None:
            date = str(date) if isinstance(date, int) else date
            if not isinstance(date, str) or not _DATE.match(date):
                raise self._error(
                    f'"date" is {_preview(raw["date"])}, expected a date with the year first, as 2012-10-05',
                    place,
                )
        return profile_item(self.format.task, id, fields, date)

    def _score(self, raw: dict[str, Any], place: str) -> str:
        if "score" not in raw:
            raise self._error('"score" is missing, expected 1 to 5', place)
        score = checked_score(raw["score"])
        if score is None:
            raise self._error(
                f'"score" is {_preview(raw["score"])}, expected 1 to 5', place, hint=_HINT_SCORE
            )
        return score

    def _check_input(self, text: str, place: str) -> None:
        found = recognise_task(text)
        if found is None and _EMAIL_FILE.fullmatch(text.strip()):
            raise MissingEmailsError(
                f'{self.path}, {place}: "input" is {_preview(text)}, the name of an e-mail\'s file, '
                "expected its text",
                hint="LaMP_6 is published without the e-mails, which are licensed (Avocado, LDC2015T03): "
                "fill them in with LaMP's create_avocado_dataset.py, or name the other tasks",
            )
        if found is None:
            raise self._error(
                f'"input" begins {_preview(text[:40])}, expected the template of a LaMP task',
                place,
                hint="docs/data.md lists the templates; personakit.data.lamp_formats.build_input fills them",
            )
        if self._item_number == 1 and (
            self.format is None or self.format.task == task_format(found).file_task
        ):
            self.format = task_format(found)  # LaMP_2 also names the news task: the file decides
        assert self.format is not None
        if found != self.format.task:
            why = "as requested" if self._task_given else "like earlier items"
            raise self._error(
                f'"input" belongs to {found}, expected {self.format.task}, {why}',
                place,
                hint="one file holds one task: split the file",
            )
        try:
            parse_input(found, text)
        except ValueError as error:
            raise self._error(f'"input" does not follow the template of {found}: {error}', place) from error

    def _text(self, raw: dict[str, Any], key: str, place: str) -> str:
        if key not in raw:
            raise self._error(f'"{key}" is missing, expected a text', place)
        value = raw[key]
        if not isinstance(value, str):
            hint = f'put it in quotes: "{value}"' if isinstance(value, int) else None
            raise self._error(f'"{key}" is {_preview(value)}, expected a text', place, hint=hint)
        return value

    def _error(self, what: str, place: str, *, hint: str | None = None) -> UserError:
        return UserError(f"{self.path}, {place}: {what}", hint=hint or "correct the item in the file")


_HINT_USER = "either every question of a file has a user_id or none has"
_HINT_PROFILE = 'a user without history has "profile": []'
_HINT_SCORE = "scores are integers from 1 to 5: rescale or remove the item"


def read_outputs(path: Path) -> Outputs:
    """Read a gold or prediction file.

    Raises `UserError` if it is missing, not JSON, or not of the form
    `{"task": "LaMP_3", "golds": [{"id": "...", "output": "..."}]}`. Outputs are not compared with the task's
    labels here; `read_golds` does that.
    """
    try:
        document = loads(path.read_bytes())
    except OSError as error:
        raise unreadable(path, error) from error
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}, line {error.lineno}, column {error.colno}: not valid JSON ({error.msg})",
            hint=_HINT_OUTPUTS,
        ) from error
    if not isinstance(document, dict):
        raise UserError(f"{path} holds {_preview(document)}, expected an object", hint=_HINT_OUTPUTS)
    for key, kind in (("task", str), ("golds", list)):
        if not isinstance(document.get(key), kind):
            found = _preview(document[key]) if key in document else "missing"
            expected = "a text" if kind is str else "a list"
            raise UserError(f'{path}: "{key}" is {found}, expected {expected}', hint=_HINT_OUTPUTS)
    texts: dict[str, str] = {}
    duplicates = []
    for number, gold in enumerate(document["golds"], start=1):
        if not isinstance(gold, dict):
            raise UserError(
                f"{path}, gold {number} is {_preview(gold)}, expected an object", hint=_HINT_OUTPUTS
            )
        for key in ("id", "output"):
            if not isinstance(gold.get(key), str):
                found = _preview(gold[key]) if key in gold else "missing"
                raise UserError(
                    f'{path}, gold {number}: "{key}" is {found}, expected a text', hint=_HINT_OUTPUTS
                )
        if gold["id"] in texts:
            duplicates.append(gold["id"])
        texts[gold["id"]] = gold["output"]
    return Outputs(document["task"], texts, tuple(duplicates))


_HINT_OUTPUTS = 'the file should read {"task": "LaMP_3", "golds": [{"id": "1", "output": "5"}]}'


def read_golds(path: Path, format: TaskFormat) -> Mapping[str, str]:
    """Read a gold file of `format`'s task as a mapping from id to gold, validated against the task's labels.

    Raises `UserError` for another task, a repeated id, or an unknown label.
    """
    outputs = read_outputs(path)
    if outputs.task != format.file_task:
        raise UserError(
            f'{path}: "task" is "{outputs.task}", expected "{format.file_task}", the task of the questions',
            hint="use the questions and outputs of the same task",
        )
    if outputs.duplicates:
        raise UserError(
            f'{path}: id "{outputs.duplicates[0]}" occurs more than once, expected unique ids',
            hint="remove the duplicates",
        )
    if format.labels:
        for number, (id, output) in enumerate(outputs.texts.items(), start=1):
            if output not in format.labels:
                raise UserError(
                    f'{path}, gold {number} (id "{id}"): "output" is {_preview(output)}, expected '
                    + ("1 to 5" if format.labels == SCORES else f"one of {', '.join(format.labels)}"),
                    hint=f"{format.task} has no other labels; case and spaces matter",
                )
    return outputs.texts


def questions_path(folder: Path, split: str) -> Path:
    """Return the path of the questions of `split`."""
    return folder / f"{split}{QUESTIONS}"


def outputs_path(folder: Path, split: str) -> Path:
    """Return the path of the gold answers of `split`."""
    return folder / f"{split}{OUTPUTS}"


def write_split(folder: Path, split: str, examples: Iterable[Example], *, user_ids: bool = False) -> int:
    """Write `{split}_questions.json`, and `{split}_outputs.json` if golds are known. Return the count.

    `user_ids` adds `user_id` to each question, as in LaMP's time-based files. Examples are consumed as a
    stream. Raises `UserError` if only some of them have golds.
    """
    golds: list[tuple[str, str]] = []
    count = 0
    task = ""

    def recorded() -> Iterator[Example]:
        nonlocal count, task
        for example in examples:
            count, task = count + 1, example.query.task
            if example.query.gold is not None:
                golds.append((example.query.id, example.query.gold))
            yield example

    write_questions(questions_path(folder, split), recorded(), user_ids=user_ids)
    if golds and len(golds) != count:
        raise UserError(
            f"{count - len(golds)} of {count} {split} queries have no gold answer, expected all or none",
            hint="remove these queries, or write no golds",
        )
    if golds:
        write_outputs(outputs_path(folder, split), task, golds)
    return count


def write_questions(path: Path, examples: Iterable[Example], *, user_ids: bool = False) -> None:
    """Write a questions file in LaMP's format, atomically."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        separator = "["
        for example in examples:
            handle.write(separator + json.dumps(raw_question(example, user_ids=user_ids)))
            separator = ", "
        handle.write("[]" if separator == "[" else "]")


def raw_question(example: Example, *, user_ids: bool = False) -> dict[str, Any]:
    """Return an example as a LaMP JSON object."""
    keys = task_format(example.query.task).item_keys
    items = []
    for item in example.profile.items:
        raw = {"id": item.id, **{key: item.fields[key] for key in keys}}
        if item.date is not None:
            raw["date"] = item.date
        items.append(raw)
    raw_query: dict[str, Any] = {"id": example.query.id, "input": example.query.text, "profile": items}
    if user_ids:
        raw_query["user_id"] = example.query.user_id
    return raw_query


def write_outputs(path: Path, task: str, texts: Iterable[tuple[str, str]]) -> None:
    """Write a gold or prediction file of (id, text) pairs in LaMP's format, atomically."""
    golds = [{"id": id, "output": text} for id, text in texts]
    with atomic_file(path) as temporary:
        temporary.write_text(
            json.dumps({"task": task_format(task).file_task, "golds": golds}), encoding="utf-8"
        )


def checked_score(value: Any) -> str | None:
    """Return a text or number as LaMP_3's score, "1" to "5", or None if it is not a valid score."""
    match = None if isinstance(value, bool) else _INTEGRAL_SCORE.fullmatch(str(value).strip())
    return None if match is None else match.group(1)


def _preview(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."
