"""LaMP's files: `{split}_questions.json`, `{split}_outputs.json`, and prediction files.

Questions are a bare list of `{"id", "input", "profile": [item, ...]}`; time-based files add
`user_id`, and items a `date`. Outputs, and predictions, are `{"task", "golds": [{"id", "output"}]}`
(LaMP-Benchmark/LaMP @ 38c9d4d, `data/`). Every question of a file is of one task.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from personakit.data.json_stream import stream_list, unreadable
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
from personakit.files import whole_file
from personakit.records import Example, Profile, ProfileItem, Query

QUESTIONS = "_questions.json"
OUTPUTS = "_outputs.json"
_DATE = re.compile(r"\d{4}")
_DIGITS = re.compile(r"\d+")
_INTEGRAL_SCORE = re.compile(r"([1-5])(\.0*)?")


@dataclass(frozen=True, slots=True)
class Outputs:
    """A gold or prediction file: the task as the file says it, and the text of each query id.

    `duplicates` lists ids given more than once; like LaMP's evaluation, `texts` keeps the last.
    """

    task: str
    texts: Mapping[str, str]
    duplicates: tuple[str, ...]


def read_questions(path: Path, *, task: str | None = None) -> Iterator[Example]:
    """Yield the questions of `path` as a stream, checked one by one.

    `query.gold` is None (join with `read_outputs`), and `user_id` is "" where the file has none
    (`store.open_store` makes one). `task` is recognised from the inputs unless given.

    Raises `UserError` with file, item number and value for anything that is not a LaMP question.
    """
    checks = QuestionChecks(path, task)
    for raw in stream_list(path):
        yield checks.example(raw)


class QuestionChecks:
    """Turns the parsed elements of one questions file, in order, into `Example`s, or says what is wrong.

    `format` and `has_user_ids` are known from the first element on.
    """

    def __init__(self, path: Path, task: str | None = None) -> None:
        self.path = path
        self.format: TaskFormat | None = None if task is None else task_format(task)
        self._task_given = task is not None
        self._number = 0
        self.has_user_ids = False
        self._first: dict[str, int] = {}

    def example(self, raw: Any) -> Example:
        """Return the next element as an `Example` with its items oldest first."""
        place = f"item {self._number + 1}"
        if not isinstance(raw, dict):
            raise self._wrong(f"is {_show(raw)}, expected an object with id, input and profile", place)
        id = self._text(raw, "id", place)
        place = self._place(id)
        text = self._text(raw, "input", place)
        user_id = self._text(raw, "user_id", place) if "user_id" in raw else None
        profile = raw.get("profile")
        if not isinstance(profile, list):
            found = _show(profile) if "profile" in raw else "missing"
            raise self._wrong(f'"profile" is {found}, expected a list of items', place, hint=_HINT_PROFILE)
        self.question(id, text, user_id)
        assert self.format is not None
        task = self.format.task
        query = Query(id, task, text, search_text(task, text), user_id or "")
        return Example(query, Profile(user_id or "", self._items(profile, place)))

    def question(self, id: str, text: str, user_id: str | None) -> None:
        """Check the next question in all but its profile; `example` does this by itself."""
        place = self._place(id)
        self._number += 1
        if not id:
            raise self._wrong('"id" is empty, expected a text that no other question has', place)
        if self._number == 1:
            self.has_user_ids = user_id is not None
        if self.has_user_ids != (user_id is not None):
            found = "missing" if user_id is None else "given"
            raise self._wrong(f'"user_id" is {found}, unlike in the items before', place, hint=_HINT_USER)
        if user_id == "":
            raise self._wrong('"user_id" is empty, expected the id of a user', place, hint=_HINT_USER)
        if id in self._first:
            raise self._wrong(f'"id" is also that of item {self._first[id]}, expected every id once', place)
        self._first[id] = self._number
        self._check_input(text, place)

    def _place(self, id: str) -> str:
        return f'item {self._number + 1} (id "{id}")' if id else f"item {self._number + 1}"

    def _items(self, raw_profile: list[Any], place: str) -> tuple[ProfileItem, ...]:
        items = [
            self._item(raw, f"{place}, profile item {number}")
            for number, raw in enumerate(raw_profile, start=1)
        ]
        undated = sum(item.date is None for item in items)
        if 0 < undated < len(items):
            raise self._wrong(
                f'{undated} of {len(items)} profile items have no "date", expected all or none',
                place,
                hint="the time-based split dates every item, the user-based split none",
            )
        return tuple(items if undated else sorted(items, key=lambda item: date_key(item.date or "")))

    def _item(self, raw: Any, place: str) -> ProfileItem:
        assert self.format is not None
        if not isinstance(raw, dict):
            raise self._wrong(f"is {_show(raw)}, expected an object", place)
        id = self._text(raw, "id", place)
        if not id:
            raise self._wrong('"id" is empty, expected a text', place)
        fields = {}
        for key in self.format.item_keys:
            value = raw.get(key)
            if key == "score":
                fields[key] = self._score(raw, place)
            elif value is None and key not in raw:
                raise self._wrong(
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
                raise self._wrong(
                    f'"date" is {_show(raw["date"])}, expected the year first, as 2012-10-05', place
                )
        return profile_item(self.format.task, id, fields, date)

    def _score(self, raw: dict[str, Any], place: str) -> str:
        if "score" not in raw:
            raise self._wrong('"score" is missing, expected 1 to 5', place)
        score = checked_score(raw["score"])
        if score is None:
            raise self._wrong(f'"score" is {_show(raw["score"])}, expected 1 to 5', place, hint=_HINT_SCORE)
        return score

    def _check_input(self, text: str, place: str) -> None:
        found = recognise_task(text)
        if found is None:
            raise self._wrong(
                f'"input" begins {_show(text[:40])}, expected the wording of a LaMP task',
                place,
                hint="docs/data.md lists the wordings; personakit.data.lamp_formats.build_input makes them",
            )
        if self._number == 1 and (self.format is None or self.format.task == task_format(found).file_task):
            self.format = task_format(
                found
            )  # who asks for LaMP_2 means the old news task where the file holds that
        assert self.format is not None
        if found != self.format.task:
            why = "as asked for" if self._task_given else "as the items before"
            raise self._wrong(
                f'"input" is of {found}, expected {self.format.task}, {why}',
                place,
                hint="one file holds one task: split the file",
            )
        try:
            parse_input(found, text)
        except ValueError as error:
            raise self._wrong(f'"input" does not follow the wording of {found}: {error}', place) from error

    def _text(self, raw: dict[str, Any], key: str, place: str) -> str:
        if key not in raw:
            raise self._wrong(f'"{key}" is missing, expected a text', place)
        value = raw[key]
        if not isinstance(value, str):
            hint = f'put it in quotes: "{value}"' if isinstance(value, int) else None
            raise self._wrong(f'"{key}" is {_show(value)}, expected a text', place, hint=hint)
        return value

    def _wrong(self, what: str, place: str, *, hint: str | None = None) -> UserError:
        return UserError(f"{self.path}, {place}: {what}", hint=hint or "correct the item in the file")


_HINT_USER = "either every question of a file has a user_id or none has"
_HINT_PROFILE = 'a user of whom nothing is known has "profile": []'
_HINT_SCORE = "scores are whole numbers from 1 to 5: rescale or leave out the item"


def read_outputs(path: Path) -> Outputs:
    """Read a gold or prediction file.

    Raises `UserError` where it is missing, not JSON, or not of the shape
    `{"task": "LaMP_3", "golds": [{"id": "...", "output": "..."}]}`. Which outputs are right for the
    task is not checked here: see `check_gold`.
    """
    try:
        document = orjson.loads(path.read_bytes())
    except OSError as error:
        raise unreadable(path, error) from error
    except orjson.JSONDecodeError as error:
        raise UserError(
            f"{path}, line {error.lineno}, column {error.colno}: not valid JSON ({error.msg})",
            hint=_HINT_OUTPUTS,
        ) from error
    if not isinstance(document, dict):
        raise UserError(f"{path} holds {_show(document)}, expected an object", hint=_HINT_OUTPUTS)
    for key, kind in (("task", str), ("golds", list)):
        if not isinstance(document.get(key), kind):
            found = _show(document[key]) if key in document else "missing"
            expected = "a text" if kind is str else "a list"
            raise UserError(f'{path}: "{key}" is {found}, expected {expected}', hint=_HINT_OUTPUTS)
    texts: dict[str, str] = {}
    duplicates = []
    for number, gold in enumerate(document["golds"], start=1):
        if not isinstance(gold, dict):
            raise UserError(f"{path}, gold {number} is {_show(gold)}, expected an object", hint=_HINT_OUTPUTS)
        for key in ("id", "output"):
            if not isinstance(gold.get(key), str):
                found = _show(gold[key]) if key in gold else "missing"
                raise UserError(
                    f'{path}, gold {number}: "{key}" is {found}, expected a text', hint=_HINT_OUTPUTS
                )
        if gold["id"] in texts:
            duplicates.append(gold["id"])
        texts[gold["id"]] = gold["output"]
    return Outputs(document["task"], texts, tuple(duplicates))


_HINT_OUTPUTS = 'the file should read {"task": "LaMP_3", "golds": [{"id": "1", "output": "5"}]}'


def read_golds(path: Path, format: TaskFormat) -> Mapping[str, str]:
    """Read a gold file of `format`'s task as id -> gold, each checked against the task's labels.

    Raises `UserError` for another task, an id given twice, or a label that is not in the list.
    """
    outputs = read_outputs(path)
    if outputs.task != format.file_task:
        raise UserError(
            f'{path}: "task" is "{outputs.task}", expected "{format.file_task}", which the questions are of',
            hint="put the questions and outputs of one task together",
        )
    if outputs.duplicates:
        raise UserError(
            f'{path}: id "{outputs.duplicates[0]}" is given more than once, expected every id once',
            hint="remove all but one",
        )
    if format.labels:
        for number, (id, output) in enumerate(outputs.texts.items(), start=1):
            if output not in format.labels:
                raise UserError(
                    f'{path}, gold {number} (id "{id}"): "output" is {_show(output)}, expected '
                    + ("1 to 5" if format.labels == SCORES else f"one of {', '.join(format.labels)}"),
                    hint=f"{format.task} allows no other answer; case and spaces count",
                )
    return outputs.texts


def questions_path(folder: Path, split: str) -> Path:
    """Return where LaMP keeps the questions of `split`."""
    return folder / f"{split}{QUESTIONS}"


def outputs_path(folder: Path, split: str) -> Path:
    """Return where LaMP keeps the gold answers of `split`."""
    return folder / f"{split}{OUTPUTS}"


def write_split(folder: Path, split: str, examples: Iterable[Example], *, user_ids: bool = False) -> int:
    """Write `{split}_questions.json`, and `{split}_outputs.json` where golds are known; return the count.

    `user_ids` adds `user_id` to each question, as LaMP's time-based files have it. Examples are
    taken one by one: a generator of any length will do. Raises `UserError` where only some have golds.
    """
    golds: list[tuple[str, str]] = []
    count = 0
    task = ""

    def noted() -> Iterator[Example]:
        nonlocal count, task
        for example in examples:
            count, task = count + 1, example.query.task
            if example.query.gold is not None:
                golds.append((example.query.id, example.query.gold))
            yield example

    write_questions(questions_path(folder, split), noted(), user_ids=user_ids)
    if golds and len(golds) != count:
        raise UserError(
            f"{count - len(golds)} of {count} {split} queries have no gold answer, expected all or none",
            hint="leave them out, or write no golds",
        )
    if golds:
        write_outputs(outputs_path(folder, split), task, golds)
    return count


def write_questions(path: Path, examples: Iterable[Example], *, user_ids: bool = False) -> None:
    """Write a questions file in LaMP's shape, whole or not at all."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        separator = "["
        for example in examples:
            handle.write(separator + json.dumps(raw_question(example, user_ids=user_ids)))
            separator = ", "
        handle.write("[]" if separator == "[" else "]")


def raw_question(example: Example, *, user_ids: bool = False) -> dict[str, Any]:
    """Return an example as LaMP's JSON object."""
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
    """Write a gold or prediction file of (id, text) pairs in LaMP's shape, whole or not at all."""
    golds = [{"id": id, "output": text} for id, text in texts]
    with whole_file(path) as temporary:
        temporary.write_text(
            json.dumps({"task": task_format(task).file_task, "golds": golds}), encoding="utf-8"
        )


def checked_score(value: Any) -> str | None:
    """Return a score as LaMP_3 writes it, "1" to "5", from a text or number; None for anything else."""
    match = None if isinstance(value, bool) else _INTEGRAL_SCORE.fullmatch(str(value).strip())
    return None if match is None else match.group(1)


def date_key(date: str) -> tuple[int, ...]:
    """Return what orders dates written year first: their numbers (`rank_profiles.py`, recency)."""
    return tuple(int(digits) for digits in _DIGITS.findall(date))


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."
