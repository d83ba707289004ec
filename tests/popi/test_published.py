"""Published accuracies appear only with the data set that they belong to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from personakit.errors import UserError
from personakit.popi.published import published_data_set, published_rows


def imported(folder: Path, source: str, format: str) -> str:
    folder.mkdir()
    made_from = {"source": source, "format": format, "seed": 0}
    (folder / "dataset.json").write_text(json.dumps({"made_from": made_from}))
    (folder / "preferences").mkdir()
    (folder / "preferences" / "dev.jsonl").write_text("{}\n")
    return str(folder)


@pytest.mark.parametrize(
    ("source", "format", "expected"),
    [
        ("alignx_test_DEMO.json", "alignx", "AlignX DEMO"),
        ("elix.jsonl", "fspo", "ELIX"),
        ("p_soups_student_phd.json", "alignx", None),
        ("elix.jsonl", "alignx", None),
        ("democracy.json", "alignx", None),
    ],
)
def test_a_data_set_is_recognised_by_format_and_file_name(
    tmp_path: Path, source: str, format: str, expected: str | None
) -> None:
    assert published_data_set(None, imported(tmp_path / "data", source, format)) == expected


def test_its_rows_are_of_that_data_set_alone() -> None:
    assert [(row["method"], row["accuracy"]) for row in published_rows("ELIX")] == [("POPI", 80.14)]
    assert {row["accuracy"] for row in published_rows("AlignX UGC")} == {58.54, 59.63}
    assert published_rows(None) == []


@pytest.mark.usefixtures("lamp_mini")
def test_the_built_in_data_is_none_of_them() -> None:
    assert published_data_set(None, "lamp-mini") is None
    with pytest.raises(UserError, match="lamp-mini is not ELIX"):
        published_data_set("ELIX", "lamp-mini")


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='unknown --published "ELIZA"'):
        published_data_set("ELIZA", imported(tmp_path / "data", "x.json", "alignx"))
