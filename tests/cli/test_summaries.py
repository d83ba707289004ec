"""`personakit infer` with a POPI run: answers; summaries printed, exported, edited and updated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from popi.runs_of import make_preferences, make_run

from .conftest import Call

USER = "dev-0"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from models.tiny import make_tiny

    folder = tmp_path_factory.mktemp("world")
    make_run(folder / "run", make_tiny(folder), make_preferences(folder / "data"))
    return folder


def test_summary_is_printed_exported_edited_and_measured(call: Call, world: Path) -> None:
    asked = ["infer", "--summary", "--run", world / "run", "--user", USER]
    plain = call(*asked, "--export", "summary.md")
    assert plain.status == 0, plain.err
    written = Path("summary.md").read_text()
    head, summary = written.removeprefix("---\n").split("---\n")
    assert summary.strip() == plain.out.strip() != ""
    assert f'user_id: "{USER}"' in head
    assert "fingerprint: " in head
    Path("summary.md").write_text(written.replace(summary.strip(), "begins with red, says dog"))
    edited = call(*asked, "--import", "summary.md", "--trace", "--json")
    assert edited.status == 0, edited.err
    document = edited.document
    assert document["summary"] == "begins with red, says dog"
    assert document["summaries"]["as inferred"] == plain.out.strip()
    effects = document["effects"]
    assert list(effects) == ["none", "as inferred", "as given"]
    assert len({each["margin"] for each in effects.values()}) == 3
    assert [each["text"] for each in document["phrases"]] == ["begins with red,", "says dog"]
    assert any(each["worth"] for each in document["phrases"])
    shown = call(*asked, "--import", "summary.md", "--trace")
    assert "on 2 held-out pairs of user dev-0" in shown.out
    assert "begins with red," in shown.out


def test_exported_summary_is_imported_from_json_and_markdown(call: Call, world: Path) -> None:
    asked = ["infer", "--summary", "--run", world / "run", "--import"]
    Path("mine.md").write_text("likes short answers\n")
    done = call(*asked, "mine.md", "--export", "mine.json")
    assert (done.status, done.out.strip()) == (0, "likes short answers")
    assert json.loads(Path("mine.json").read_text())["summary"] == "likes short answers"
    again = call(*asked, "mine.json", "--json")
    assert (again.document["summary"], again.document["user"]) == ("likes short answers", "you")


def test_new_signals_update_a_summary_without_the_old_signals(call: Call, world: Path) -> None:
    Path("mine.md").write_text("begins with red")
    Path("news.jsonl").write_text(
        '{"comment": "now blue"}\n{"prompt": "cat", "chosen": "", "rejected": "x"}\n'
    )
    asked = ["infer", "--summary", "--run", world / "run", "--import", "mine.md", "--update", "news.jsonl"]
    done = call(*asked, "--json")
    assert done.status == 0, done.err
    assert list(done.document["summaries"]) == ["as given", "as updated"]
    assert done.document["summary"] == done.document["summaries"]["as updated"]
    assert "skipped in news.jsonl: 1 pair with an empty prompt or answer" in done.err


def test_query_is_answered_with_given_signals_or_summary(call: Call, world: Path) -> None:
    asked = ["infer", "the tree", "--run", world / "run", "--json"]
    own = call(*asked, "--user", USER)
    assert own.status == 0, own.err
    assert own.document["context"]["summary"]
    assert own.document["query"] == "the tree"
    Path("signals.jsonl").write_text('{"comment": "on red"}\n{"text": "the red cat"}\n')
    mine = call(*asked, "--profile", "signals.jsonl")
    assert (mine.status, mine.document["profile_items"]) == (0, 2)
    Path("mine.md").write_text("begins with red")
    given = call(*asked, "--import", "mine.md")
    assert given.document["context"]["summary"] == "begins with red"
    assert call(*asked).document["degraded"]


def test_eval_lamp_accepts_a_popi_run(call: Call, world: Path, tiny_data: Path) -> None:
    asked = ["eval", "lamp", "--run", world / "run", "--data", tiny_data, "--task", "LaMP_7", "--json"]
    done = call(*asked, "--baseline", "generic", "--baseline", "empty", "--baseline", "other")
    assert done.status == 0, done.err
    rows = {row["method"]: row for row in done.document["rows"] if row["metric"] == "rouge-1"}
    assert list(rows) == ["generic", "POPI", "POPI, empty history", "POPI, another user's history"]
    assert rows["POPI"]["context_tokens"] > rows["POPI, empty history"]["context_tokens"] == 0
    assert rows["POPI"]["tokens"] > rows["POPI, empty history"]["tokens"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--export", "a.md"], "--export a.md goes with --summary"),
        (["--update", "a.jsonl"], "--update a.jsonl goes with --summary"),
        (["--summary", "a query"], "--summary and a query were both given"),
        (["--summary", "--export", "a.txt"], "a.txt: expected a file name that ends with .json or .md"),
        (["--summary", "--import", "no.md"], "no.md does not exist"),
        (
            ["--summary", "--import", "other.md", "--user", USER],
            'the summary of user "dev-1", expected that of',
        ),
        (
            ["a query", "--import", "other.md", "--user", USER],
            'the summary is of user "dev-1", the query of user "dev-0"',
        ),
        (["--summary", "--import", "empty.md"], "empty.md: the summary is empty"),
        (["--summary", "--import", "bad.json"], "bad.json, line 1: not valid JSON"),
        (["--summary", "--import", "odd.json"], 'odd.json: "summary" is 3, expected a text'),
        (["--summary", "--profile", "none.jsonl"], "none.jsonl holds no usable signals"),
        (["--summary", "--user", "dev-9"], 'has no user "dev-9"'),
        (["--import", "other.md", "--batch", "b.jsonl"], "--import other.md holds one user's summary"),
    ],
)
def test_wrong_use_is_an_error(call: Call, world: Path, options: list[str], said: str) -> None:
    Path("other.md").write_text('---\nuser_id: "dev-1"\n---\n\nbegins with blue\n')
    Path("empty.md").write_text("---\n---\n \n")
    Path("bad.json").write_text("{")
    Path("odd.json").write_text('{"summary": 3}')
    Path("none.jsonl").write_text('{"comment": " "}\n')
    done = call("infer", "--run", world / "run", *options)
    assert done.status == 2, done.err
    assert said in done.err
    assert "hint: " in done.err
    assert not Path("a.md").exists()


def test_run_without_summaries_is_an_error(call: Call, tiny_run: Path) -> None:
    done = call("infer", "--summary", "--run", tiny_run)
    assert done.status == 2
    assert "a run of rpo, expected one of popi" in done.err
