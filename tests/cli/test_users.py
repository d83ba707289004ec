"""`personakit users`: items from a file to the export, and keys."""

from __future__ import annotations

import base64
import contextlib
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest

from .conftest import Call

pytest.importorskip("sqlalchemy", reason="needs the extra serve")
pytest.importorskip("cryptography", reason="needs the extra serve")


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    path = tmp_path / "posts.jsonl"
    path.write_text('{"text": "hey [/] \\u001b[31mthere", "date": "2026-01-02"}\n{"text": "off we go"}\n')
    return path


def test_items_go_from_a_file_to_the_export(call: Call, posts: Path, tmp_path: Path) -> None:
    done = call("users", "add", "ada", posts, "--json")
    assert done.status == 0, done.err
    assert done.document == {"user": "ada", "added": 2, "first": 1, "last": 2}
    assert call("users", "list", "--json").document[0]["items"] == 2
    shown = call("users", "show", "ada")
    assert "hey [/] \\x1b[31mthere" in shown.out
    exported = call("users", "export", "ada", "--output", "ada.json")
    assert (exported.status, exported.out) == (0, "ada.json\n")
    assert (
        call("users", "export", "ada", "--json").document == call("users", "show", "ada", "--json").document
    )
    texts = [each["fields"]["text"] for each in call("users", "export", "ada", "--json").document["items"]]
    assert texts == ["off we go", "hey [/] \x1b[31mthere"]  # an item without a date is the oldest
    assert call("users", "forget", "ada").out == "ada is forgotten\n"
    gone = call("users", "show", "ada")
    assert (gone.status, "there is no user 'ada'" in gone.err) == (2, True)
    assert call("users", "list", "--json").document == []


def test_an_export_is_added_again_with_its_dates(call: Call, posts: Path, tmp_path: Path) -> None:
    call("users", "add", "ada", posts)
    call("users", "export", "ada", "--output", "ada.json")
    done = call("users", "add", "again", "ada.json")
    assert done.status == 0, done.err
    first, second = (call("users", "export", user, "--json").document["items"] for user in ("ada", "again"))
    assert [(each["fields"], each["date"]) for each in second] == [
        (each["fields"], each["date"]) for each in first
    ]


def test_other_names_of_columns_are_proposed_and_read(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    path.write_text("nr,when,my message\n1,2026-01-02,hey there you\n")
    refused = call("users", "add", "ada", path)
    assert (refused.status, "--column 'text=my message'" in refused.err) == (2, True)
    call("users", "add", "ada", path, "--column", "text=my message", "--column", "date=when")
    [item] = call("users", "export", "ada", "--json").document["items"]
    assert (item["fields"], item["date"]) == ({"text": "hey there you"}, "2026-01-02")


def test_plain_text_on_stdin_is_told_what_a_line_looks_like(call: Call) -> None:
    done = call("users", "add", "ada", "-", stdin="plain text\n")
    assert (done.status, "stdin has no rows" in done.err, '{"text": "..."}' in done.err) == (2, True, True)


def test_tenants_have_users_of_their_own(call: Call, posts: Path) -> None:
    call("users", "add", "ada", posts, "--tenant", "one")
    call("users", "create-key", "--tenant", "two")
    assert call("users", "list", "--tenant", "two", "--json").document == []
    for arguments, sentence in (
        (("list", "--tenant", "two"), "there are no users: personakit users add makes one\n"),
        (("keys", "--tenant", "one"), "there are no keys: personakit users create-key makes one\n"),
    ):
        done = call("users", *arguments)
        assert (done.out, done.err) == ("", sentence)
    assert call("users", "forget", "ada", "--tenant", "two").status == 2
    assert call("users", "show", "ada", "--tenant", "one").status == 0
    missing = call("users", "list", "--tenant", "three")
    assert (missing.status, 'no tenant "three"' in missing.err) == (2, True)


def test_a_key_is_shown_once_and_can_be_revoked(call: Call, posts: Path) -> None:
    call("users", "add", "ada", posts)
    made = call("users", "create-key", "--user", "ada", "--label", "phone", "--rate", "60", "--json").document
    assert made["secret"].startswith("pk-")
    [key] = call("users", "keys", "--json").document
    assert (key["id"], key["user"], key["label"], key["revoked"]) == (made["key"], "ada", "phone", None)
    assert key["limits"] == {"requests_per_minute": 60, "concurrent_requests": None}
    shown = call("users", "keys").out
    assert ("60" in shown, "serve's default" in shown, made["secret"] in shown) == (True, True, False)
    second = call("users", "create-key")
    assert second.out.startswith("pk-")
    assert "personakit users revoke-key 2 ends it" in second.err
    assert call("users", "revoke-key", str(made["key"])).status == 0
    again = call("users", "revoke-key", str(made["key"]))
    assert (again.status, f"no valid key {made['key']}" in again.err) == (2, True)


def test_retention_is_set_and_shown(call: Call, posts: Path) -> None:
    call("users", "add", "ada", posts)
    call("users", "add", "bob", posts)
    call("users", "delete", "bob", "1")
    counted = call("users", "retention", "--items", "1", "--dry-run")
    assert counted.out == "1 item of 1 user would be deleted\n"
    aged = call("users", "retention", "--days", "1e-9", "--dry-run", "--json").document
    assert aged == {"days": 1e-9, "items": None, "would_delete": 3, "users": 2}
    assert call("users", "retention", "--dry-run", "--json").document["would_delete"] == 0
    assert sum(user["items"] for user in call("users", "list", "--json").document) == 3
    assert call("users", "retention", "--items", "1", "--json").document == {
        "days": None,
        "items": 1,
        "deleted": 1,
    }
    assert call("users", "retention").out == "days: no limit, items of a user: 1; 0 deleted now\n"
    assert call("users", "retention", "--forever", "--json").document["items"] is None
    assert call("users", "retention", "--forever", "--days", "3").status == 2


@pytest.mark.parametrize("limit", [("--days", "0"), ("--items", "0"), ("--days", "-1"), ("--days", "nan")])
def test_a_retention_that_keeps_nothing_is_refused(call: Call, posts: Path, limit: tuple[str, str]) -> None:
    call("users", "add", "ada", posts)
    done = call("users", "retention", *limit)
    assert (done.status, f"error: {' '.join(limit)} keeps no item" in done.err) == (2, True)
    assert "hint: personakit users forget deletes a user" in done.err
    assert call("users", "list", "--json").document[0]["items"] == 2


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (("--label", "x" * 257), "the label has 257 characters, expected at most 256"),
        (("--rate", str(2**31)), "'--rate': Input should be less than or equal to 1000000000"),
        (("--concurrency", str(2**31)), "'--concurrency': Input should be less than or equal to 1000000000"),
    ],
)
def test_a_key_that_no_database_can_hold_is_refused(
    limit: tuple[str, str], expected: str, call: Call
) -> None:
    done = call("users", "create-key", *limit)
    assert (done.status, expected in done.err) == (2, True), done.err
    assert not Path("profiles").exists()


def test_a_key_of_a_user_who_is_not_there_is_refused(call: Call, posts: Path) -> None:
    done = call("users", "create-key", "--user", "ada")
    assert (done.status, "no profile store" in done.err) == (2, True)
    call("users", "add", "ada", posts)
    done = call("users", "create-key", "--user", "ghost")
    assert (done.status, "there is no user 'ghost'" in done.err) == (2, True)
    assert "personakit users add" in done.err
    assert call("users", "keys", "--json").document == []
    assert [user["user"] for user in call("users", "list", "--json").document] == ["ada"]


def test_an_empty_list_says_so(call: Call, posts: Path) -> None:
    call("users", "add", "ada", posts)
    call("users", "forget", "ada")
    for what, sentence in (("list", "there are no users: "), ("keys", "there are no keys: ")):
        done = call("users", what)
        assert (done.out, done.err.startswith(sentence)) == ("", True)


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("mysql://me:secret@host/x", "postgresql+psycopg://USER@HOST/NAME"),
        ("postgres://me:secret@host/x", "postgresql+psycopg://me:***@host/x"),
    ],
)
def test_a_database_that_is_not_postgresql_is_named(call: Call, url: str, hint: str) -> None:
    done = call("users", "list", "--store", url)
    assert (done.status, f"hint: write {hint}\n" in done.err) == (2, True)
    assert "expected a folder or postgresql+psycopg://" in done.err
    assert "secret" not in done.err


@pytest.mark.parametrize("arguments", [("list",), ("show", "ada"), ("forget", "ada"), ("keys",)])
def test_reading_makes_no_store(call: Call, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = call("users", *arguments, "--store", tmp_path / "none")
    assert (done.status, "no profile store" in done.err) == (2, True)
    assert not (tmp_path / "none").exists()


def test_lost_keys_are_an_error_and_make_no_others(call: Call, posts: Path) -> None:
    call("users", "add", "ada", posts)
    Path("profiles/keys.sqlite").unlink()
    for arguments in (("list",), ("add", "ada", posts), ("create-key",)):
        done = call("users", *arguments)
        assert (done.status, done.out) == (2, "")
        assert "profiles/keys.sqlite: expected the keys of this profile store's users" in done.err
        assert not Path("profiles/keys.sqlite").exists()


@pytest.mark.parametrize("lost", ["emptied", "another store's"])
def test_keys_that_are_not_the_users_own_are_an_error(
    call: Call, posts: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    monkeypatch.setenv("PERSONAKIT_MASTER_KEY", base64.b64encode(bytes(32)).decode())  # that of both stores
    call("users", "add", "ada", posts)
    if lost == "emptied":
        with contextlib.closing(sqlite3.connect("profiles/keys.sqlite")) as connection, connection:
            connection.executescript("DELETE FROM user_keys; DELETE FROM secrets;")
    else:
        call("users", "add", "ada", posts, "--store", "other")
        shutil.copy("other/keys.sqlite", "profiles/keys.sqlite")
    before = Path("profiles/keys.sqlite").read_bytes()
    for arguments in (("list",), ("add", "ada", posts), ("create-key",)):
        done = call("users", *arguments)
        assert (done.status, done.out) == (2, "")
        assert "profiles/keys.sqlite: expected the keys of this profile store's users" in done.err
    assert Path("profiles/keys.sqlite").read_bytes() == before


def test_a_file_that_cannot_be_read_adds_nothing(call: Call, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "fine"}\n{"text": \n')
    done = call("users", "add", "ada", tmp_path / "bad.jsonl", "--store", tmp_path / "new")
    assert done.status == 2
    assert "bad.jsonl" in done.err
    assert not (tmp_path / "new").exists()


def test_another_master_key(call: Call, posts: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "profiles")
    call("users", "add", "ada", posts, "--store", store)
    old = (tmp_path / "profiles" / "master.key").read_text()
    assert call("users", "rotate-master-key", "--store", store, "--json").document == {"users": 1}
    assert (tmp_path / "profiles" / "master.key").read_text() != old
    assert call("users", "list", "--store", store, "--json").document[0]["user"] == "ada"


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("keys",),
        ("create-key",),
        ("retention",),
        ("rotate-master-key",),
        ("learn", "ada", "x", "--draft", "y"),
    ],
)
def test_without_the_extra_a_sentence_says_what_to_install(
    call: Call, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr("personakit.serving._PACKAGES", ("sqlalchemy_that_is_not_there",))
    for name in ("sqlalchemy", "personakit.serving.store"):
        monkeypatch.setitem(sys.modules, name, None)
    done = call("users", *arguments)
    assert (done.status, 'hint: install them with pip install "personakit[serve]"\n' in done.err) == (2, True)
