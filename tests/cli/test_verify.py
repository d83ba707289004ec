"""`personakit verify`: the checks, the exit status, and where texts and writers come from."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.tasks.writers import writers

from .conftest import Call

TEXTS = writers(24, texts=9)
DRAFT = "I would like to inform you that we moved the report and that Ada lost the invoice on Monday."


@pytest.fixture
def everyone(tmp_path: Path) -> Path:
    """A file with a user column, of all writers."""
    path = tmp_path / "everyone.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["user_id", "text"])
        rows.writerows([writer, text] for writer, texts in TEXTS.items() for text in texts)
    return path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A profile of one writer."""
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS["w0"][1:]))
    return path


def test_a_candidate_that_changes_a_fact_is_not_verified(call: Call, own: Path):
    called = call("verify", DRAFT, DRAFT.replace("Monday", "Friday"), "--profile", own, "--json")
    assert called.status == 3
    document = called.document
    assert not document["passed"]
    assert document["content"] == {
        "lost": [{"kind": "date", "text": "Monday"}],
        "invented": [{"kind": "date", "text": "Friday"}],
    }
    assert document["style"] is None
    assert "other writers" in document["no_style"]
    assert document["edits"] == {"share": round(1 / len(DRAFT.split()), 6), "max": None}


def test_an_unchanged_draft_is_verified(call: Call, own: Path):
    called = call("verify", DRAFT, DRAFT, "--profile", own, "--max-edit", "0")
    assert called.status == 0
    assert "verdict        passed" in called.out
    assert "not judged" in called.out


def test_facts_and_words_are_checked_without_a_profile(call: Call):
    called = call("verify", DRAFT, DRAFT)
    assert called.status == 0, called.err
    assert "style          not judged: no texts by the writer were given (--profile)\n" in called.out
    assert call("verify", DRAFT, DRAFT.replace("Monday", "Friday")).status == 3
    called = call("verify", DRAFT, DRAFT, "--user", "w0")
    assert (called.status, "--user w0 goes with --profile" in called.err) == (2, True)


def test_too_many_changed_words_are_not_verified(call: Call, own: Path):
    candidate = DRAFT.replace("I would like to inform you that", "FYI,")
    assert call("verify", DRAFT, candidate, "--profile", own).status == 0
    called = call("verify", DRAFT, candidate, "--profile", own, "--max-edit", "0.2")
    assert called.status == 3
    assert "changes 37% of the draft's words, at most 20% allowed" in called.out


def test_style_is_placed_between_other_writers_and_the_writer(call: Call, everyone: Path):
    own_text, strange = TEXTS["w0"][0], TEXTS["w5"][0]
    draft = "we moved the report and we lost the invoice in the garden near the bridge"
    found = {
        text: call("verify", draft, text, "--profile", everyone, "--user", "w0", "--json").document["style"]
        for text in (own_text, strange)
    }
    style = found[own_text]
    assert style["apart"]
    assert style["floor"]["value"] < 0.65 < style["ceiling"]["value"]
    assert style["candidate"] > found[strange]["candidate"]
    assert style["other_writers"] == 23
    assert style["own_texts"] == 9
    assert style["share"] > found[strange]["share"]


def test_text_of_another_writer_in_place_of_ones_own_is_not_verified(call: Call, everyone: Path):
    draft, candidate = TEXTS["w0"][0], TEXTS["w5"][0]
    called = call("verify", draft, candidate, "--profile", everyone, "--user", "w0")
    assert called.status == 3
    assert "reads less like the writer than the draft" in called.out


def test_other_writers_of_a_file(call: Call, own: Path, everyone: Path):
    called = call("verify", DRAFT, DRAFT, "--profile", own, "--others", everyone, "--json")
    assert called.document["style"]["own_texts"] == 8
    assert called.document["style"]["other_writers"] == 23
    # the writer is among them under an id of its own
    assert "1 of 24 other writers left out" in called.err


def test_other_writers_of_a_data_folder(call: Call, tmp_path: Path):
    def table(name: str, some: dict[str, list[str]]) -> Path:
        with (tmp_path / name).open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["user_id", "original", "revised"])
            for writer, texts in some.items():
                rows.writerows([writer, f"{writer} text {place}", text] for place, text in enumerate(texts))
        return tmp_path / name

    others = {writer: texts for writer, texts in TEXTS.items() if writer != "w0"}
    data, pairs = tmp_path / "data", table("pairs.csv", {"w0": TEXTS["w0"]})
    imported = call("data", "import", table("others.csv", others), data, "--task", "rewriting")
    assert imported.status == 0, imported.err
    options = ("--profile", pairs, "--task", "rewriting", "--others", data, "--split", "train", "--json")
    style = call("verify", DRAFT, DRAFT, *options).document["style"]
    assert style["own_texts"] == 9
    assert style["other_writers"] >= 10


def test_texts_come_from_files_and_stdin(call: Call, own: Path, tmp_path: Path):
    (tmp_path / "draft.txt").write_text(DRAFT)
    called = call("verify", tmp_path / "draft.txt", "-", "--profile", own, "--max-edit", "0", stdin=DRAFT)
    assert called.status == 0, called.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-", "-"], "DRAFT and CANDIDATE are both -"),
        (["missing.txt", "text"], "DRAFT missing.txt: no such file"),
        (["text", " "], "CANDIDATE is empty"),
        (["text", "text", "--user", "nobody"], 'has no user "nobody"'),
        (["text", "text", "--task", "LaMP_9"], 'unknown task "LaMP_9"'),
        (["text", "text", "--others", "nowhere"], "nowhere"),
        (["text", "text", "--max-edit", "-1"], "--max-edit -1: expected a share from 0 to 1"),
        (["text", "text", "--max-edit", "3"], "--max-edit 3: expected a share from 0 to 1"),
    ],
)
def test_wrong_input_is_one_sentence(call: Call, own: Path, arguments: list[str], sentence: str):
    called = call("verify", *arguments, "--profile", own)
    assert called.status == 2
    assert sentence in called.err
    assert called.err.count("\n") == 2  # the sentence and its hint


def test_a_file_of_several_users_needs_one(call: Call, everyone: Path):
    called = call("verify", DRAFT, DRAFT, "--profile", everyone)
    assert called.status == 2
    assert "24 users, expected one" in called.err


def test_others_that_do_not_exist_are_named(call: Call, own: Path, tmp_path: Path):
    called = call("verify", DRAFT, DRAFT, "--profile", own, "--others", tmp_path / "nosuch")
    assert called.status == 2
    assert f"--others {tmp_path / 'nosuch'} does not exist" in called.err
