"""Invalid input gives one sentence with file and place, and leaves no files behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from personakit.data import open_examples
from personakit.data.check import check_data
from personakit.data.history import read_history
from personakit.data.imports import import_data
from personakit.data.lamp import raw_question, read_outputs
from personakit.errors import UserError
from tests.data.made import example, item

Change = Callable[[list[dict[str, Any]]], object]


def questions(task: str, count: int = 3) -> list[dict[str, Any]]:
    return [
        raw_question(example(task, f"q{n}", tuple(item(task, f"u{n}", k) for k in range(3))))
        for n in range(count)
    ]


def put(key: str, value: Any) -> Change:
    return lambda raw: raw[1].__setitem__(key, value)


def put_item(key: str, value: Any) -> Change:
    return lambda raw: raw[1]["profile"][2].__setitem__(key, value)


IN_QUESTIONS: dict[str, tuple[str, Change, str]] = {
    "an element that is no object": (
        "LaMP_3",
        lambda raw: raw.__setitem__(1, 5),
        "item 2: is 5, expected an object",
    ),
    "no id": ("LaMP_3", lambda raw: raw[1].pop("id"), 'item 2: "id" is missing'),
    "an empty id": ("LaMP_3", put("id", ""), 'item 2: "id" is empty'),
    "a number as id": ("LaMP_3", put("id", 17), 'item 2: "id" is 17, expected a text'),
    "an id twice": ("LaMP_3", put("id", "q0"), 'item 2 (id "q0"): "id" is already used by item 1'),
    "no input": ("LaMP_3", lambda raw: raw[1].pop("input"), 'item 2 (id "q1"): "input" is missing'),
    "no profile": ("LaMP_3", lambda raw: raw[1].pop("profile"), 'item 2 (id "q1"): "profile" is missing'),
    "a profile of another type": ("LaMP_3", put("profile", "none"), '"profile" is "none", expected a list'),
    "a profile of null": ("LaMP_3", put("profile", None), '"profile" is null, expected a list'),
    "an unknown task": ("LaMP_3", put("input", "Say something nice"), "expected the template of a LaMP task"),
    "two tasks mixed": (
        "LaMP_3",
        lambda raw: raw.append(questions("LaMP_4", 4)[3]),
        'item 4 (id "q3"): "input" belongs to LaMP_4, expected LaMP_3',
    ),
    "half a wording": (
        "LaMP_1",
        put("input", questions("LaMP_1")[1]["input"][:80]),
        'item 2 (id "q1"): "input" does not follow the template of LaMP_1',
    ),
    "a user here and there": (
        "LaMP_3",
        put("user_id", "anna"),
        'item 2 (id "q1"): "user_id" is given, unlike',
    ),
    "an item that is no object": (
        "LaMP_3",
        lambda raw: raw[1]["profile"].__setitem__(2, ["x"]),
        'item 2 (id "q1"), profile item 3: is ["x"], expected an object',
    ),
    "an item without a field": (
        "LaMP_4",
        lambda raw: raw[1]["profile"][2].pop("title"),
        'item 2 (id "q1"), profile item 3: "title" is missing',
    ),
    "an item of another task": (
        "LaMP_5",
        lambda raw: raw[1].__setitem__("profile", questions("LaMP_4")[1]["profile"]),
        'item 2 (id "q1"), profile item 1: "abstract" is missing',
    ),
    "a field of another type": (
        "LaMP_4",
        put_item("text", ["a"]),
        'profile item 3: "text" is ["a"], expected a text',
    ),
    "a field of null": ("LaMP_4", put_item("text", None), 'profile item 3: "text" is null, expected a text'),
    "an item without an id": (
        "LaMP_7",
        lambda raw: raw[1]["profile"][2].pop("id"),
        'item 3: "id" is missing',
    ),
    "an item with an empty id": ("LaMP_7", put_item("id", ""), 'profile item 3: "id" is empty'),
    "a rating of 7": ("LaMP_3", put_item("score", 7), 'profile item 3: "score" is 7, expected 1 to 5'),
    "a rating in words": ("LaMP_3", put_item("score", "five"), '"score" is "five", expected 1 to 5'),
    "a rating between": ("LaMP_3", put_item("score", 3.5), '"score" is 3.5, expected 1 to 5'),
    "a rating that is true": ("LaMP_3", put_item("score", True), '"score" is true, expected 1 to 5'),
    "a date here and there": (
        "LaMP_4",
        put_item("date", "2012-10-05"),
        '2 of 3 profile items have no "date"',
    ),
    "a date with the day first": (
        "LaMP_4",
        lambda raw: [each.__setitem__("date", "05/10/2012") for each in raw[1]["profile"]],
        '"date" is "05/10/2012", expected a date with the year first',
    ),
    "an empty list": ("LaMP_3", lambda raw: raw.clear(), "is an empty list"),
}


@pytest.mark.parametrize("case", IN_QUESTIONS)
def test_a_bad_question(case: str, tmp_path: Path, cache: Path) -> None:
    task, change, said = IN_QUESTIONS[case]
    raw = questions(task)
    change(raw)
    path = tmp_path / "dev_questions.json"
    path.write_text(json.dumps(raw))
    for reading in (lambda: open_examples(tmp_path), lambda: check_data(tmp_path)):
        with pytest.raises(UserError) as raised:
            reading()
        assert str(path) in raised.value.message
        assert said in raised.value.message
        assert raised.value.hint
    assert not list(cache.rglob("*.arrow"))
    with pytest.raises(UserError):
        import_data(tmp_path, tmp_path / "out")
    assert sorted(child.name for child in tmp_path.iterdir() if child != cache) == ["dev_questions.json"]


WHOLE = json.dumps(questions("LaMP_3")).encode()
IN_BYTES: dict[str, tuple[bytes, str]] = {
    "an empty file": (b"", "is empty"),
    "not JSON": (b"id,input\n1,2\n", "not valid JSON"),
    "cut off": (WHOLE[:-30], "cut off"),
    "cut off between elements": (WHOLE[: WHOLE.index(b"]}, {") + 3], "cut off"),
    "a missing comma": (WHOLE.replace(b"]}, {", b"]} {"), "not valid JSON"),
    "a missing quote": (WHOLE.replace(b'"input"', b'input"', 1), "item 1: not valid JSON at byte 14"),
    "something after the list": (WHOLE + b" {}", "nothing after the list"),
    "an object": (b'{"task": "LaMP_3", "golds": []}', "holds a JSON object, expected a list"),
    "latin-1": (WHOLE.replace(b"of u1", "d\u00fc u1".encode("latin-1")), "byte 0xfc at offset"),
    "UTF-16": (WHOLE.decode().encode("utf-16"), "UTF-16"),
    "half a character": (WHOLE.replace(b"of u1", b"\\ud83d u1", 1), "surrogate pair"),
}


@pytest.mark.parametrize("case", IN_BYTES)
def test_a_bad_file(case: str, tmp_path: Path, cache: Path) -> None:
    content, said = IN_BYTES[case]
    path = tmp_path / "train_questions.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        open_examples(tmp_path, split="train")
    assert str(path) in raised.value.message
    assert said in raised.value.message
    assert not list(cache.rglob("*.arrow"))


GOLDS = [{"id": f"q{n}", "output": "5"} for n in range(3)]
IN_OUTPUTS: dict[str, tuple[Any, str]] = {
    "a list": (GOLDS, "expected an object"),
    "no task": ({"golds": GOLDS}, '"task" is missing'),
    "no golds": ({"task": "LaMP_3"}, '"golds" is missing'),
    "a gold that is no object": ({"task": "LaMP_3", "golds": ["5"]}, "gold 1 is"),
    "a gold without output": ({"task": "LaMP_3", "golds": [{"id": "q0"}]}, 'gold 1: "output" is missing'),
    "a number as output": ({"task": "LaMP_3", "golds": [{"id": "q0", "output": 5}]}, 'gold 1: "output" is 5'),
    "another task": ({"task": "LaMP_4", "golds": GOLDS}, '"task" is "LaMP_4", expected "LaMP_3"'),
    "a gold twice": ({"task": "LaMP_3", "golds": [*GOLDS, GOLDS[0]]}, 'id "q0" occurs more than once'),
    "a label not in the list": (
        {"task": "LaMP_3", "golds": [{"id": "q0", "output": "7"}]},
        'gold 1 (id "q0"): "output" is "7", expected 1 to 5',
    ),
    "a question without gold": ({"task": "LaMP_3", "golds": GOLDS[:2]}, 'no gold for id "q2"'),
    "a gold without question": (
        {"task": "LaMP_3", "golds": [*GOLDS, {"id": "q9", "output": "1"}]},
        'gold for id "q9"',
    ),
}


@pytest.mark.parametrize("case", IN_OUTPUTS)
def test_bad_outputs(case: str, tmp_path: Path, cache: Path) -> None:
    document, said = IN_OUTPUTS[case]
    (tmp_path / "dev_questions.json").write_bytes(WHOLE)
    (tmp_path / "dev_outputs.json").write_text(json.dumps(document))
    with pytest.raises(UserError) as raised:
        open_examples(tmp_path)
    assert "dev_outputs.json" in raised.value.message
    assert said in raised.value.message
    assert not any(child.name != "data" for child in cache.rglob("*"))


def test_invalid_or_missing_outputs(tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    with pytest.raises(UserError, match=r"predictions\.json does not exist"):
        read_outputs(path)
    path.write_text('{"task": "LaMP_3",\n "golds": [}')
    with pytest.raises(UserError, match=r"predictions\.json, line 2, column 12: not valid JSON"):
        read_outputs(path)


def test_labels_are_case_sensitive(tmp_path: Path) -> None:
    (tmp_path / "dev_questions.json").write_text(json.dumps(questions("LaMP_2", 1)))
    (tmp_path / "dev_outputs.json").write_text(
        '{"task": "LaMP_2", "golds": [{"id": "q0", "output": "Comedy"}]}'
    )
    with pytest.raises(UserError, match='"output" is "Comedy", expected one of sci-fi'):
        open_examples(tmp_path)


REVIEW = {"rating": 5, "title": "Fine", "text": "It works", "pid": "p"}
TO_IMPORT: dict[str, tuple[str, Any, dict[str, Any], str]] = {
    "a rating of 7 in reviews": (
        "reviews.json",
        [{"id": "anna", "profile": [REVIEW, {**REVIEW, "rating": 7}]}],
        {},
        'reviews.json, item 1 (id "anna"), review 2: "rating" is 7, expected 1 to 5',
    ),
    "a review without text": (
        "reviews.json",
        [{"id": "anna", "profile": [{"rating": 5, "title": "x"}]}],
        {},
        'item 1 (id "anna"), review 1: "text" is missing',
    ),
    "a reviewer twice": (
        "reviews.json",
        [{"id": "anna", "profile": [REVIEW]}] * 2,
        {},
        'item 2: user "anna" is repeated',
    ),
    "a reviewer without an id": (
        "reviews.json",
        [{"profile": [REVIEW]}],
        {},
        'reviews.json, item 1: "id" is missing',
    ),
    "no revised column": (
        "mails.csv",
        "user_id,original\n1,x\n",
        {"format": "rewriting"},
        'mails.csv, line 2 has no column "revised", it has user_id, original',
    ),
    "an empty rewrite": (
        "mails.csv",
        "user_id,original,revised\n1,x,\n1,y,\n",
        {},
        'mails.csv has no usable row: 2 missing values of "revised" (first: ',
    ),
    "a row with a value too many": (
        "mails.csv",
        "user_id,original,revised\n1,a,b\n1,a,b,c\n",
        {},
        "mails.csv, line 3: more values than",
    ),
    "a row with a value too few": (
        "mails.csv",
        "user_id,original,revised\n1,a\n",
        {},
        "mails.csv, line 2: fewer values than",
    ),
    "no rows": ("mails.csv", "user_id,original,revised\n", {"format": "rewriting"}, "mails.csv has no rows"),
    "no header": ("mails.csv", "", {"format": "rewriting"}, "mails.csv is empty"),
    "a named column that is not there": (
        "mails.csv",
        "user_id,original,revised\n1,a,b\n",
        {"columns": {"revised": "after"}},
        'no column "after" (given for revised)',
    ),
    "a field that is not there": (
        "mails.csv",
        "user_id,original,revised\n1,a,b\n",
        {"columns": {"rewritten": "after"}},
        'no field "rewritten"',
    ),
    "CSV in latin-1": (
        "mails.csv",
        "user_id,original,revised\n1,a,d\u00fc\n".encode("latin-1"),
        {},
        "byte 0xfc is not UTF-8",
    ),
    "a history without a task": ("mine.jsonl", '{"text": "a", "score": 5}\n', {}, "no task was given"),
    "a history line that is not JSON": (
        "mine.jsonl",
        '{"text": "a"}\n{"text": \n',
        {"task": "LaMP_7", "format": "history"},
        "mine.jsonl, line 2",
    ),
    "a history line that is no object": (
        "mine.jsonl",
        '{"text": "a", "score": 1}\n[1]\n',
        {"task": "LaMP_3", "format": "history"},
        "mine.jsonl, line 2 holds [1], expected a JSON object",
    ),
    "a score of 7 in a history": (
        "mine.jsonl",
        '{"text": "a", "score": 5}\n\n{"text": "b", "score": 7}\n',
        {"task": "LaMP_3"},
        'mine.jsonl, line 3: "score" is "7", expected 1 to 5',
    ),
    "a value missing in a history": (
        "mine.jsonl",
        '{"text": "a", "title": "t"}\n{"text": "b"}\n',
        {"task": "LaMP_4"},
        'mine.jsonl, line 2: "title" is missing',
    ),
    "a task that a history cannot ask": (
        "mine.jsonl",
        '{"text": "a"}\n',
        {"task": "LaMP_7"},
        "LaMP_7 queries cannot be built from a history",
    ),
    "not Parquet": ("mine.parquet", "text", {"task": "LaMP_7"}, "mine.parquet is not a Parquet file"),
    "questions under another name": (
        "mine.json",
        questions("LaMP_3"),
        {},
        "expected a file name that gives the split",
    ),
    "an unknown suffix": ("mine.docx", "x", {}, "mine.docx has an unknown file type"),
    "an unknown format": ("mine.csv", "x\n", {"format": "xml"}, 'unknown format "xml"'),
}


@pytest.mark.parametrize("case", TO_IMPORT)
def test_a_bad_import(case: str, tmp_path: Path) -> None:
    name, content, options, said = TO_IMPORT[case]
    source = tmp_path / name
    raw = content if isinstance(content, str | bytes) else json.dumps(content)
    source.write_bytes(raw.encode() if isinstance(raw, str) else raw)
    with pytest.raises(UserError) as raised:
        import_data(source, tmp_path / "out", **options)
    assert said in raised.value.message
    assert raised.value.hint
    assert [child.name for child in tmp_path.iterdir()] == [name]


def test_a_missing_file(tmp_path: Path) -> None:
    for reading in (
        lambda: open_examples(tmp_path / "gone"),
        lambda: import_data(tmp_path / "gone", tmp_path / "out"),
        lambda: import_data(tmp_path / "gone.csv", tmp_path / "out"),
        lambda: import_data(tmp_path / "dev_questions.json", tmp_path / "out"),
        lambda: read_history(tmp_path / "gone.jsonl", "LaMP_4"),
    ):
        with pytest.raises(UserError) as raised:
            reading()
        assert str(tmp_path) in raised.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_data_and_an_existing_output(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"hold no \*_questions\.json"):
        open_examples(tmp_path)
    (tmp_path / "reviews.json").write_text(json.dumps([{"id": "anna", "profile": [REVIEW]}]))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match="out already exists"):
        import_data(tmp_path / "reviews.json", tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "precious"
