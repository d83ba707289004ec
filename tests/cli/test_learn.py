"""Learning from edits: `infer --learn`, the field `final` of a batch, and what reads the learned profile."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from personakit.data import open_examples
from personakit.data.own.learning import Edit, check_learnable, learn
from personakit.data.preferences.signal_file import read_signal_file
from personakit.errors import UserError
from personakit.records import Answer, Profile, Query
from personakit.rpo.rewriter import Rewriter

from .conftest import Call

DRAFT = "we meet at the lake at noon"
FINAL = "lake at noon? bring the boat"


@pytest.fixture(autouse=True)
def _a_rewriter_that_shows_the_newest_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def respond(self: Rewriter, queries: list[Query], profiles: list[Profile]) -> list[Answer]:
        return [
            Answer(f"{query.search_text} ({profile.items[-1].fields['text']})", query.search_text)
            for query, profile in zip(queries, profiles, strict=True)
        ]

    monkeypatch.setattr(Rewriter, "respond", respond)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text(
        '{"date": "2024-01-01", "text": "hey, what a day"}\n{"date": "2024-01-02", "text": "we are out"}'
    )
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_final_text_is_in_the_profile_and_changes_the_next_answer(
    call: Call, tiny_run: Path, mine: Path
) -> None:
    before, common = mine.read_text(), ("infer", DRAFT, "--run", tiny_run, "--profile", mine)
    mine.chmod(0o600)
    first = call(*common, "--learn", FINAL)
    assert (first.status, first.out) == (0, f"{DRAFT} (we are out)\n")
    assert f"learned: the text is in {mine}, now 3 texts; 80% of the answer's words changed" in first.err
    assert mine.read_text().startswith(before + "\n")
    assert mine.stat().st_mode & 0o777 == 0o600
    new = rows(mine)[-1]
    assert (new["text"], new["draft"]) == (FINAL, f"{DRAFT} (we are out)")
    assert re.fullmatch(r"[0-9a-f]{12}", new["id"])
    learned = mine.read_text()
    again = call(*common, "--learn", "-", "--json", stdin=FINAL + "\n")
    assert again.document["answer"] == f"{DRAFT} ({FINAL})"
    assert "nothing to learn" in again.err
    assert mine.read_text() == learned
    assert new["draft"] not in json.dumps(again.document["context"])


def test_a_text_that_was_there_gets_its_draft(call: Call, tiny_run: Path, mine: Path) -> None:
    done = call("infer", DRAFT, "--run", tiny_run, "--profile", mine, "--learn", "we are out")
    assert "the draft of a text that was there" in done.err
    assert [row.get("draft") for row in rows(mine)] == [None, f"{DRAFT} (we are out)"]


def test_columns_of_the_file_are_kept_and_an_undated_file_stays_so(
    call: Call, tiny_run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_text('{"ID": "7", "body": "we are out", "likes": 3}\n')
    done = call(
        *("infer", DRAFT, "--run", tiny_run, "--profile", path, "--column", "text=body", "--learn", FINAL)
    )
    assert done.status == 0, done.err
    first, new = rows(path)
    assert first == {"ID": "7", "body": "we are out", "likes": 3}
    assert new == {"ID": new["ID"], "draft": f"{DRAFT} (we are out)", "body": FINAL}


def test_all_edits_of_a_new_file_are_dated_and_texts_that_repeat_are_known(tmp_path: Path) -> None:
    path = tmp_path / "new.jsonl"
    path.touch()
    edits = [Edit(FINAL, DRAFT), Edit("we are out", None), Edit(FINAL, DRAFT), Edit("we are out", DRAFT)]
    assert [(each.outcome, each.items) for each in learn(path, edits)] == [
        ("added", 1),
        ("added", 2),
        ("known", 2),
        ("draft added", 2),
    ]
    assert [(row["text"], row["draft"], len(row["date"])) for row in rows(path)] == [
        (FINAL, DRAFT, 19),
        ("we are out", DRAFT, 19),
    ]


def test_a_sentence_stands_for_an_empty_table(call: Call, mine: Path, tmp_path: Path) -> None:
    shown = call("data", "show", mine)
    assert shown.out == "2 texts, none of them made from an answer\n"
    assert "no edit rate: personakit infer --learn" in shown.err
    imported = call("data", "import", mine, tmp_path / "own", "--format", "profile")
    assert imported.out.endswith(f"\n{tmp_path / 'own'}\n")
    assert "queries   users" not in imported.out
    assert "no held-out queries: fewer than 3 texts" in imported.err


def test_lines_of_a_batch_are_learned_into_their_own_profiles(
    call: Call, tiny_run: Path, mine: Path, tmp_path: Path
) -> None:
    other, batch = tmp_path / "other.jsonl", tmp_path / "batch.jsonl"
    other.write_text('{"user_id": "kai", "text": "so long"}\n')
    lines = [
        {"query": DRAFT, "profile": str(other), "final": "so long, lake"},
        {"query": DRAFT, "final": FINAL},
        {"query": DRAFT},
    ]
    batch.write_text("".join(json.dumps(line) + "\n" for line in lines))
    common = ("infer", "--batch", batch, "--run", tiny_run, "--profile", mine)
    done = call(*common, "--output", tmp_path / "out.jsonl")
    assert done.status == 0, done.err
    [learned] = rows(other)[1:]
    assert learned == {
        "id": learned["id"],
        "user_id": "kai",
        "draft": f"{DRAFT} (so long)",
        "text": "so long, lake",
    }
    assert [row["text"] for row in rows(mine)] == ["hey, what a day", "we are out", FINAL]
    assert call(*common).err.count("nothing to learn") == 2


def test_processes_that_learn_at_the_same_time_take_turns(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edits = [
        Edit(f"{noun} are out today", DRAFT) for noun in ("boats", "ropes", "oars", "hens", "lamps", "ants")
    ]
    with ThreadPoolExecutor(len(edits)) as pool:
        list(pool.map(lambda edit: learn(mine, [edit]), edits))
    assert {row["text"] for row in rows(mine)} >= {edit.text for edit in edits}
    before = mine.read_text()
    monkeypatch.setattr("personakit.data.own.learning._LONGEST_WAIT", 0.1)
    with (
        FileLock(mine.with_name(".mine.jsonl.lock")),
        pytest.raises(UserError, match="another process has been writing to it"),
    ):
        learn(mine, [Edit(FINAL, DRAFT)])
    assert mine.read_text() == before


def test_an_edit_is_a_signal_beside_the_comparisons_of_a_file(mine: Path) -> None:
    mine.write_text('{"prompt": "p", "chosen": "c", "rejected": "r"}\n')
    check_learnable(mine, "preference")
    learn(mine, [Edit(FINAL, DRAFT, "where do we meet?")])
    pairs = read_signal_file(mine)[0].signals.pairs
    assert [(pair.prompt, pair.chosen, pair.rejected) for pair in pairs] == [
        ("p", "c", "r"),
        ("where do we meet?", FINAL, DRAFT),
    ]


def test_a_folder_that_cannot_be_written_to_is_found_before_answering(mine: Path, tmp_path: Path) -> None:
    (tmp_path / ".mine.jsonl.lock").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        check_learnable(mine, "LaMP_7")


def test_a_file_that_cannot_be_written_to_is_found_before_answering(
    call: Call, tiny_run: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def read_only(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if self == mine and mode not in ("r", "rb"):
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, mode, *args, **kwargs)

    answered: list[Query] = []
    monkeypatch.setattr(Path, "open", read_only)
    monkeypatch.setattr(Rewriter, "respond", lambda self, queries, profiles: answered.extend(queries))
    done = call("infer", DRAFT, "--run", tiny_run, "--profile", mine, "--learn", FINAL)
    assert (done.status, "cannot be written (Permission denied)" in done.err) == (2, True), done.err
    assert not answered
    assert [path.name for path in mine.parent.glob(".*.lock")] == []


def test_a_degraded_answer_is_no_draft_of_the_final_text(
    call: Call, tiny_run: Path, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Rewriter,
        "respond",
        lambda self, queries, profiles: [
            Answer(query.search_text, query.search_text, degraded="invents name Ada: the draft stands")
            for query in queries
        ],
    )
    common = ("--run", tiny_run, "--profile", mine)
    done = call("infer", DRAFT, *common, "--learn", FINAL)
    assert "the answer was the text that was given, so it is no draft" in done.err
    batch = tmp_path / "batch.jsonl"
    batch.write_text(json.dumps({"query": DRAFT, "final": "another text by me"}) + "\n")
    assert call("infer", "--batch", batch, *common).status == 0
    assert [row["text"] for row in rows(mine)[2:]] == [FINAL, "another text by me"]
    shown = call("data", "show", mine, "--json").document
    assert (shown["texts"], shown["edits"]) == (4, [])


def test_edits_are_trajectories_signals_and_an_edit_rate(
    call: Call, tiny_run: Path, mine: Path, tmp_path: Path
) -> None:
    batch = tmp_path / "batch.jsonl"
    finals = [f"{noun} number {n}, bye" for n, noun in enumerate(("boats", "lakes", "ropes", "oars"))]
    lines = [{"query": f"please look after the {final}", "final": final} for final in finals]
    batch.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert call("infer", "--batch", batch, "--run", tiny_run, "--profile", mine).status == 0
    shown = call("data", "show", mine, "--json").document
    assert (shown["texts"], shown["edits"][0]["answers"], shown["edits"][0]["unchanged"]) == (6, 4, 0)
    assert shown["edits"][0]["rate"] == pytest.approx(28 / 44, abs=1e-3)
    assert "64%" in call("data", "show", mine).out
    for option, message in (("--user", 'has no user "x"'), ("--task", "which has no task x")):
        refused = call("data", "show", mine, option, "x")
        assert (refused.status, message in refused.err) == (2, True), refused.err
    imported = call("data", "import", mine, tmp_path / "folder", "--keep-names", "--json")
    assert imported.status == 0, imported.err
    assert imported.document["format"] == "profile"
    [test] = open_examples(str(tmp_path / "folder"), "rewriting", "test")
    assert test.query.gold in finals
    assert test.query.search_text == f"please look after the {test.query.gold} (we are out)"
    signals = read_signal_file(mine)[0].signals
    assert [pair.chosen for pair in signals.pairs] == finals
    assert all(pair.rejected.endswith("(we are out)") for pair in signals.pairs)
    assert [item.fields["text"] for item in signals.items] == ["hey, what a day", "we are out"]


def test_a_profile_that_cannot_be_written_to_is_refused_before_answering(
    call: Call, tiny_run: Path, mine: Path, tmp_path: Path
) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("text\nwe are out\n")
    two = tmp_path / "two.jsonl"
    two.write_text('{"user_id": "a", "text": "one"}\n{"user_id": "b", "text": "two"}\n')
    listed = tmp_path / "list.jsonl"
    listed.write_text('[{"text": "one"},\n {"text": "two"}]')
    batch = tmp_path / "batch.jsonl"
    batch.write_text('{"query": "a text", "final": "b", "profile": [{"text": "c"}]}\n')
    common = ("infer", DRAFT, "--run", tiny_run, "--learn", FINAL)
    for arguments, message in (
        ((*common, "--profile", table), 'a file that ends in ".csv", expected a JSONL file'),
        ((*common, "--profile", tmp_path), "is a folder"),
        ((*common, "--profile", two), "holds 2 users, expected one"),
        ((*common, "--profile", listed), "line 1: not a JSON object on one line"),
        ((*common, "--user", "dan"), "adds the final text to a profile file, and none was given"),
        ((*common[:-1], "  ", "--profile", mine), "--learn is empty"),
        (("infer", "--run", tiny_run, "--learn", FINAL), "--learn goes with a query"),
        (("infer", "--batch", batch, "--run", tiny_run), '"final" is added to a profile file'),
    ):
        before = {path: path.read_bytes() for path in tmp_path.glob("*.*")}
        done = call(*arguments)
        assert (done.status, message in done.err) == (2, True), done.err
        assert {path: path.read_bytes() for path in tmp_path.glob("*.*")} == before
