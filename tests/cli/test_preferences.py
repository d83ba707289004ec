"""`personakit data` on preference files: import, check, show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Call


@pytest.fixture
def folder(call: Call, tmp_path: Path) -> Path:
    """Ten users with five pairs, one of them invalid; texts contain Rich markup and a terminal escape."""
    rows = [
        {
            "user": f"u[{u}]",
            "prompt": f"ask {u} {n}",
            "chosen": f"[red]yes[/] {u} {n}\x1b",
            "rejected": f"no {u} {n}",
        }
        for u in range(10)
        for n in range(5)
    ]
    rows[7]["rejected"] = ""
    source = tmp_path / "p.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    called = call("data", "import", source, tmp_path / "out")
    assert called.status == 0, called.err
    assert f"skipped 1 pair with an empty prompt or answer (first: {source}, line 8)" in called.out
    assert "kept 49 of 50 pairs in 50 rows, split by user" in called.out
    return tmp_path / "out"


def test_an_import_counts_in_json(call: Call, folder: Path) -> None:
    called = call("data", "import", folder.parent / "p.jsonl", folder.parent / "again", "--json")
    report = called.document["preferences"]
    assert (report["pairs"], report["kept"], report["rows"]) == (50, 49, 50)
    assert report["skipped"]["pairs with an empty prompt or answer"]["count"] == 1
    assert sum(split["users"] for split in report["splits"].values()) == 10


def test_a_check_lists_the_splits(call: Call, folder: Path) -> None:
    called = call("data", "check", folder, "--json")
    assert called.status == 0, called.err
    splits = called.document["preferences"]
    assert [one["split"] for one in splits] == ["train", "dev", "test"]
    assert sum(one["pairs"] + one["signal_pairs"] for one in splits) == 49
    assert called.document["warnings"] == []
    assert "signal pairs" in call("data", "check", folder).out


def test_user_is_shown_without_markup(call: Call, folder: Path) -> None:
    called = call("data", "show", folder)
    assert called.status == 0, called.err
    assert "[red]yes[/]" in called.out
    assert "\\x1b" in called.out
    assert "\x1b" not in called.out
    document = call("data", "show", folder, "--task", "preferences", "--limit", "1", "--json").document
    assert len(document["pairs"]) == 1
    assert len(document["signals"]["pairs"]) == 3
    missing = call("data", "show", folder, "--user", "u[99]")
    assert (missing.status, missing.out) == (2, "")
    assert 'no user "u[99]"' in missing.err
