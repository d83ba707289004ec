"""`personakit users`: changes of what is stored about one user."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from personakit.config import TrainPILLOW, load, to_yaml
from personakit.methods import METHODS

from .conftest import Call

pytest.importorskip("sqlalchemy", reason="needs the extra serve")
pytest.importorskip("cryptography", reason="needs the extra serve")


@pytest.fixture
def ada(tmp_path: Path, call: Call) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_text('{"text": "one", "title": "T", "date": "2026-01-02"}\n{"text": "two", "title": "U"}\n')
    done = call("users", "add", "ada", path, "--task", "LaMP_4")
    assert done.status == 0, done.err


def stored(call: Call) -> Any:
    return call("users", "export", "ada", "--json").document


@pytest.mark.usefixtures("ada")
def test_items_are_changed_deleted_and_learnt(call: Call) -> None:
    assert call("users", "edit", "ada", "2", "first").status == 0
    assert call("users", "edit", "ada", "2", "Title", "--field", "title").status == 0
    assert call("users", "delete", "ada", "1").status == 0
    done = call("users", "learn", "ada", "hi all!", "--draft", "Dear all,", "--request", "Greet them.")
    assert done.out == "item 3 added\n"
    assert [(item["number"], item["fields"], item["date"]) for item in stored(call)["items"]] == [
        (2, {"text": "first", "title": "Title"}, "2026-01-02"),
        (3, {"text": "hi all!", "draft": "Dear all,", "request": "Greet them."}, None),
    ]


@pytest.mark.usefixtures("ada")
def test_summaries_and_settings_are_set(call: Call) -> None:
    done = call("users", "summary", "ada", "popi", "Short and warm.")
    assert (done.status, "runs/ has no run 'popi'" in done.err) == (0, True)
    [summary] = stored(call)["summaries"]
    assert (summary["model"], summary["text"], summary["edited"]) == ("popi", "Short and warm.", True)
    assert call("users", "summary", "ada", "popi", "--delete").status == 0
    assert stored(call)["summaries"] == []
    assert call("users", "personalise", "ada", "off").status == 0
    assert stored(call)["settings"] == {"personalise": False}


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("edit", "ada", "9", "x"), "'ada' has no item 9"),
        (("edit", "ada", "1", "x", "--field", "subject"), 'has no item 1 with a field "subject"'),
        (("edit", "ada", "1", " "), "TEXT is empty"),
        (("delete", "ada", "9"), "'ada' has no item 9"),
        (("summary", "ada", "popi"), "expected TEXT or --delete"),
        (("summary", "ada", "popi", "--delete"), "'ada' has no summary of 'popi'"),
        (("summary", "ada", "voice", "x"), "voice reads no summaries"),
        (("summary", "ada", "pillows", "x"), "pillows reads no summaries"),
        (("summary", "ghost", "popi", "x"), "there is no user 'ghost'"),
        (("personalise", "ghost", "off"), "there is no user 'ghost'"),
        (("personalise", "ada", "maybe"), "error: Invalid value for 'on|off': 'maybe' is not one of"),
        (("edit", "ada", "2", "nul.txt"), 'item 2: its "text" has a NUL character'),
        (("add", "ada", "nul.jsonl"), 'nul.jsonl, line 2: "text" has a NUL character'),
        (("delete", "ada", "8"), "hint: list the user's items"),
    ],
)
def test_what_cannot_be_changed_is_one_sentence(call: Call, arguments: tuple[str, ...], message: str) -> None:
    before = stored(call)
    Path("nul.txt").write_text("a\0b")
    Path("nul.jsonl").write_text('{"text": "fine"}\n{"text": "a\\u0000b"}\n')
    (Path("runs/pillows") / METHODS["pillow"].result).mkdir(parents=True)
    Path("runs/pillows/config.yaml").write_text(to_yaml(load(TrainPILLOW)))
    Path("runs/pillows/run.json").write_text(json.dumps({"method": "pillow", "seed": 0}))
    done = call("users", *arguments)
    assert (done.status, done.out, message in done.err) == (2, "", True), done.err
    assert stored(call) == before
    assert [user["user"] for user in call("users", "list", "--json").document] == ["ada"]


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("edit", "ada", "2", "-", "--field", "title"), 'item 2: its "title"'),
        (("learn", "new", "-", "--draft", "x"), 'item 1: its "text"'),
        (("learn", "new", "x", "--draft", "long.txt"), 'item 1: its "draft"'),
        (("learn", "new", "x", "--draft", "y", "--request", "long.txt"), 'item 1: its "request"'),
        (("summary", "ada", "popi", "-"), 'the summary: its "text"'),
        (("add", "new", "long.csv", "--store", "none"), 'long.csv, item 2: its "text"'),
    ],
)
def test_texts_have_the_limit_of_the_api(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    before, long = stored(call), "x" * 100_001
    Path("long.txt").write_text(long)
    Path("long.csv").write_text(f"text,date\nfine,2026-01-03\n{long},2026-01-02\n")
    done = call("users", *arguments, stdin=long)
    sentence = f"error: {message} has 100001 characters, expected at most 100000\nhint: shorten it\n"
    assert (done.status, done.out, sentence in done.err) == (2, "", True), done.err
    assert stored(call) == before
    assert [user["user"] for user in call("users", "list", "--json").document] == ["ada"]
    assert not Path("none").exists()
    Path("long.txt").write_text(long[1:])
    assert call("users", "learn", "ada", "long.txt", "--draft", "x").status == 0


@pytest.mark.parametrize("given", ['{"text": "one"}\n{"text": "two"}\n', "text\none\ntwo\n", '["x"]'])
def test_items_may_come_from_stdin(call: Call, given: str) -> None:
    done = call("users", "add", "ada", "-", stdin=given)
    if given == '["x"]':
        assert (done.status, "error: stdin" in done.err) == (2, True)
    else:
        assert done.out == "2 items added\n", done.err
        assert [item["fields"] for item in stored(call)["items"]] == [{"text": "one"}, {"text": "two"}]
