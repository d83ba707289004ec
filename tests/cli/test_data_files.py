"""`data import` and `infer --profile` say what was missing in a file; `data check` accepts the output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Call


def test_an_import_prints_what_was_left_out_and_passes_the_check(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = ["user_id;date;title;text"]
    lines += [
        f"u{user};2020-0{1 + n}-01;Title {n} {user};by the river {n} {user}"
        for user in range(6)
        for n in range(3)
    ]
    lines[2] = lines[2].replace("2020-02-01", "2021-99-99")
    lines[5] = lines[5].replace("2020-02-01", "")
    lines[8] = lines[8].replace("Title 1 2", "nan")
    Path("mine.csv").write_bytes("\ufeff".encode() + "\r\n".join([*lines, ";;;", ""]).encode())
    done = call("data", "import", "mine.csv", "out", "--task", "LaMP_4")
    assert done.status == 0, done.err
    for said in (
        "1 blank row (first: mine.csv, line 20)",
        '1 missing value of "date" (first: mine.csv, line 6)',
        '1 row left out because "title" is empty or missing (first: mine.csv, line 9)',
        '1 item whose date cannot be read (first: mine.csv, line 3: "2021-99-99")',
        "2 items left out because they have no date and others of their user have",
    ):
        assert said in done.out
    assert "at random" not in done.out
    assert call("data", "check", "out").status == 0
    written = json.loads(Path("out", "dataset.json").read_text())["read"]
    assert written["blank rows"] == {"count": 1, "first": "mine.csv, line 20"}


def test_an_import_without_dates_says_that_queries_were_drawn(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"user_id": f"u{n % 4}", "title": f"t {n}", "text": f"x {n}"} for n in range(12)]
    Path("mine.json").write_text(json.dumps(rows))
    done = call("data", "import", "mine.json", "out", "--task", "LaMP_4")
    assert "LaMP_4: 4 queries of users without dates, drawn at random" in done.out


def test_a_prompt_column_that_is_not_known_has_to_be_named(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"user_id": f"u{n % 3}", "request": f"ask {n}", "chosen": f"it is {n}", "rejected": f"it was {n}"}
        for n in range(12)
    ]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = call("data", "import", "pairs.jsonl", "out")
    assert done.status == 2
    assert "pairs.jsonl, line 1 has no known prompt column" in done.err
    assert "user_id, request, chosen, rejected" in done.err
    assert "--column prompt=COLUMN" in done.err
    assert not Path("out").exists()
    assert call("data", "import", "pairs.jsonl", "out", "--column", "prompt=request").status == 0
    assert '"prompt":"ask ' in Path("out", "preferences", "train.jsonl").read_text()


def test_a_profile_in_excel_s_csv_is_read_and_its_gaps_are_told(
    call: Call, tiny_run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes("text;date\r\nwas by the river;2020-01-01\r\n;2020-01-02\r\n;\r\n".encode("utf-16"))
    done = call("infer", "hello", "--run", tiny_run, "--task", "LaMP_7", "--profile", path, "--json")
    assert done.status == 0, done.err
    assert done.document["profile_items"] == 1
    assert f'{path}: 1 row left out because "text" is empty or missing (first: line 3)' in done.err
    assert f"{path}: 1 blank row (first: line 4)" in done.err
