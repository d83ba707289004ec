"""Files as other programs write them: encodings, delimiters, layouts of JSON, missing values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from personakit.data.history import read_history
from personakit.data.imports import import_data
from personakit.data.preferences.signal_file import read_signal_file
from personakit.data.skips import SkipCounts
from personakit.data.tables import read_rows
from personakit.errors import UserError

ROWS = [{"text": "Grüße, Müller", "date": "2020-01-01"}, {"text": "two", "date": "2020-02-01"}]


def csv_text(delimiter: str, newline: str = "\r\n") -> str:
    lines = [["text", "date"], *([f'"{row["text"]}"', row["date"]] for row in ROWS)]
    return "".join(delimiter.join(line) + newline for line in lines)


def values(path: Path, counts: SkipCounts | None = None) -> list[dict[str, Any]]:
    return [dict(row.values) for row in read_rows(path, counts)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("semicolons.csv", csv_text(";")),
        ("commas.csv", csv_text(",", "\n")),
        ("tabs.csv", csv_text("\t")),
        ("tabs.tsv", csv_text("\t")),
        ("bars.csv", csv_text("|")),
        ("sep.csv", "sep=;\r\n" + csv_text(";")),
        ("quoted_sep.csv", '"sep=\t"\r\n' + csv_text("\t")),
        ("header_spaces.csv", csv_text(",").replace("text,date", "text , date ")),
        ("lines.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS)),
        ("windows.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in ROWS)),
        ("list.json", json.dumps(ROWS)),
        ("list.jsonl", json.dumps(ROWS, indent=1)),
        ("lines.json", "".join(json.dumps(row) + "\n" for row in ROWS)),
        ("wrapped.json", json.dumps({"data": ROWS}, indent=2)),
        ("wrapped.jsonl", json.dumps({"rows": ROWS})),
        ("json.csv", json.dumps(ROWS)),
    ],
)
def test_every_encoding_and_layout_gives_the_same_rows(
    name: str, text: str, encoding: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    assert values(path) == ROWS


def test_one_object_is_one_row_and_what_stands_beside_the_rows_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(ROWS[0], indent=1))
    assert values(path) == ROWS[:1]
    path.write_text(json.dumps({"version": "1.0", "data": ROWS}))
    counts = SkipCounts()
    assert values(path, counts) == ROWS
    assert counts.report['values beside "data" other than rows'].first.endswith('"version"')


def test_blank_rows_and_columns_without_a_name_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("text,date,,\none,2020,,\n,,,\n , ,,\n\ntwo,2021,note,\n,,,\n")
    counts = SkipCounts()
    assert values(path, counts) == [{"text": "one", "date": "2020"}, {"text": "two", "date": "2021"}]
    blank, unnamed = counts.report["blank rows"], counts.report["values in columns without a name"]
    assert (blank.count, blank.first) == (4, f"{path}, line 3")
    assert (unnamed.count, unnamed.first) == (1, f"{path}, line 6")


REFUSED: dict[str, tuple[str, bytes, str]] = {
    "Windows-1252": ("a.csv", "text;date\nMüller;2020\n".encode("cp1252"), "byte 0xfc is not UTF-8"),
    "an Excel workbook": ("a.csv", b"PK\x03\x04rest", "is a ZIP archive or an Excel workbook"),
    "compressed lines": ("a.jsonl", b"\x1f\x8b\x08rest", "is compressed with gzip"),
    "CSV in JSONL": ("a.jsonl", b"text,date\na,b\n", "line 1, column 1: not valid JSON"),
    "CSV in JSON": ("a.json", b"text,date\na,b\n", "not valid JSON, it begins with b'text,date"),
    "an empty CSV file": ("a.csv", b"", "is empty, expected a header line"),
    "only blank cells": ("a.csv", b",,\n,,\n", "is empty, expected a header line"),
    "an empty JSON file": ("a.json", b"", "is empty, expected a JSON list"),
    "a column twice": ("a.csv", b"text,text\na,b\n", '2 columns "text"'),
    "a delimiter too many": ("a.csv", b"text;date\na;b;c\n", "separated by semicolons"),
    "rows that are lists": ("a.jsonl", b'["text"]\n["a"]\n', "expected a JSON object"),
    "rows that are texts": ("a.jsonl", b'"text"\n"a"\n', "line 1 holds 'text', expected a JSON object"),
    "an element that is a number": (
        "a.json",
        b'[{"text": "a"}, 5]',
        "item 2 holds 5, expected",
    ),
    "half a character": (
        "a.jsonl",
        b'{"text": "\\ud83d"}\n',
        "stands alone, expected a whole",
    ),
    "half a character and NaN": ("a.jsonl", b'{"text": "\\ud83d", "n": NaN}\n', "stands alone"),
    "half a character in a list": ("a.json", b'[{"text": "\\ud83d"}]', "stands alone"),
    "two lists": ("a.json", b'{"train": [{"a": 1}], "data": [{"a": 2}]}', "with the lists train, data"),
    "another list": ("a.json", b'{"questions": [{"a": 1}]}', "with the lists questions"),
    "columns of pandas": ("a.json", b'{"a": {"0": "x"}, "b": {"0": "y"}}', "by columns (a, b)"),
    "pandas by index": ("a.json", b'{"0": {"a": "x", "b": "y"}, "1": {"a": "x", "b": "y"}}', "by columns"),
    "pandas in parts": ("a.json", b'{"columns": ["a"], "index": [0], "data": [["x"]]}', "by columns"),
    "a cut object": ("a.json", b'{"data": [\n{"a": 1},\n', "line 3, column 1: not valid JSON"),
    "a cut UTF-16 file": ("a.csv", "text\nab".encode("utf-16")[:-1], "begins like UTF-16"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_named(case: str, tmp_path: Path) -> None:
    name, content, said = REFUSED[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as raised:
        values(tmp_path / name)
    assert said in raised.value.message
    assert name in raised.value.message
    assert raised.value.hint


def test_an_empty_file_is_not_a_history_without_a_task(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("\n")
    with pytest.raises(UserError, match="has no rows"):
        import_data(tmp_path / "mine.jsonl", tmp_path / "out")


def instructions(count: int = 20) -> list[dict[str, Any]]:
    words = ["river", "heron", "reed", "otter", "stone", "cloud", "frost", "maple", "copper", "violin"]
    return [
        {
            "instruction": f"Write of {words[n % 10]} and {words[n * 3 % 10]} {n}",
            "input": float("nan"),
            "output": f"{words[n * 7 % 10]} {words[(n + 3) % 10]} {n}",
        }
        for n in range(count)
    ]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as the suffix says, with a float NaN where a value is missing, as pandas has it."""
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        import csv

        with path.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, rows[0])
            writer.writeheader()
            writer.writerows(rows)  # NaN becomes the text nan
    else:
        lines = [json.dumps(row) for row in rows]
        path.write_text("\n".join(lines) if path.suffix == ".jsonl" else f"[{', '.join(lines)}]")
    return path


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl", "parquet"])
def test_a_missing_value_is_counted_and_never_the_text_nan(suffix: str, tmp_path: Path) -> None:
    source = write_rows(tmp_path / f"rows.{suffix}", instructions())
    report = import_data(source, tmp_path / "out")
    assert report.instructions is not None
    assert report.instructions.kept == 20
    assert report.read['missing values of "input"'].count == 20
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["read"] == {
        'missing values of "input"': {"count": 20, "first": report.read['missing values of "input"'].first}
    }
    written = (tmp_path / "out" / "instructions" / "lora.jsonl").read_text()
    assert "nan" not in written.casefold()
    assert '"input":""' in written


@pytest.mark.parametrize("missing", ["NaN", "null", '"nan"', '"NaN"', '"NaT"', '"<NA>"', '"  "'])
def test_items_without_a_text_are_left_out_and_counted(missing: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f'{{"text": "one"}}\n{{"text": {missing}, "id": 7}}\n{{"text": "three"}}\n')
    counts = SkipCounts()
    (me,) = read_history(path, "LaMP_7", counts=counts)
    assert [old.fields["text"] for old in me.items] == ["one", "three"]
    left_out = counts.report['rows left out because "text" is empty or missing']
    assert (left_out.count, left_out.first) == (1, f"{path}, line 2")


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN", "NaT", "<NA>", "None", "NULL", "#N/A"])
def test_rewrites_without_a_text_are_left_out_and_counted(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "mails.csv"
    path.write_text(
        "user_id,original,revised\n"
        + "".join(f"u{n},mail number {n},better {n}\n" for n in range(6))
        + f"u0,another mail,{cell}\n"
    )
    report = import_data(path, tmp_path / "out")
    assert sum(split.queries for split in report.tasks["rewriting"].values()) == 6
    assert report.read['rows left out because "revised" is empty or missing'].first == f"{path}, line 8"


def test_a_review_with_a_missing_title_is_left_out_of_the_title_task_only(tmp_path: Path) -> None:
    people = [
        {
            "id": f"u{n}",
            "profile": [{"rating": 5, "title": f"T {n} {k}", "text": f"x {n} {k}"} for k in range(2)],
        }
        for n in range(6)
    ]
    people[0]["profile"][0]["title"] = float("nan")  # type: ignore[index]
    (tmp_path / "reviews.json").write_text("\ufeff" + json.dumps(people), encoding="utf-8")
    report = import_data(tmp_path / "reviews.json", tmp_path / "out")
    assert report.read['reviews left out of LaMP_5 because "title" is empty or missing'].count == 1
    sizes = {
        task: sum(split.queries + split.items for split in splits.values())
        for task, splits in report.tasks.items()
    }
    assert sizes == {"LaMP_3": 12, "LaMP_5": 11}
    assert report.drawn == {"LaMP_3": 6, "LaMP_5": 5}


def test_an_infinite_number_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"text": Infinity}\n')
    with pytest.raises(UserError, match='"text" is inf, expected a text'):
        read_history(tmp_path / "mine.jsonl", "LaMP_7")


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.csv"])
def test_a_nul_character_is_no_text(name: str, tmp_path: Path) -> None:
    nul = r"\u0000" if name.endswith("l") else "\0"
    rows = ['{"text": "one"}', f'{{"text": "a{nul}b"}}'] if name.endswith("l") else ["text", f"a{nul}b"]
    (tmp_path / name).write_text("\n".join(rows) + "\n")
    with pytest.raises(UserError, match=f'{name}, line 2: "text" has a NUL character'):
        read_history(tmp_path / name, "LaMP_7")


def test_signals_in_csv_are_told_apart_by_their_filled_cells(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("instruction;chosen;rejected;comment\nsky?;blue;black;\n;;;be brief\n")
    user, skipped = read_signal_file(path)
    assert user.signals.pairs[0].prompt == "sky?"
    assert user.signals.comments == ("be brief",)
    assert not skipped
