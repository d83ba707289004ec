"""Published accuracies appear only where the data set is named, and was imported from its format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from personakit.errors import UserError
from personakit.popi.published import published_accuracies


def imported(folder: Path, format: str) -> str:
    folder.mkdir()
    made_from = {"source": "alignx_test_DEMO.json", "format": format, "seed": 0}
    (folder / "dataset.json").write_text(json.dumps({"made_from": made_from}))
    (folder / "preferences").mkdir()
    (folder / "preferences" / "dev.jsonl").write_text("{}\n")
    return str(folder)


def test_a_file_name_alone_shows_none(tmp_path: Path) -> None:
    assert published_accuracies(None, imported(tmp_path / "data", "alignx")) == []


@pytest.mark.parametrize(
    ("name", "format", "expected"),
    [("ELIX", "fspo", {80.14}), ("AlignX UGC", "alignx", {58.54, 59.63})],
)
def test_a_named_data_set_shows_its_own_accuracies(
    tmp_path: Path, name: str, format: str, expected: set[float]
) -> None:
    rows = published_accuracies(name, imported(tmp_path / "data", format))
    assert {row["accuracy"] for row in rows} == expected
    assert {row["data"] for row in rows} == {name}


@pytest.mark.parametrize(("name", "format"), [("ELIX", "alignx"), ("AlignX UGC", "fspo")])
def test_data_of_another_format_is_refused(tmp_path: Path, name: str, format: str) -> None:
    with pytest.raises(UserError, match=f"was not imported with .* as {name} would be"):
        published_accuracies(name, imported(tmp_path / "data", format))


@pytest.mark.usefixtures("lamp_mini")
def test_the_built_in_data_is_none_of_them() -> None:
    with pytest.raises(UserError, match="lamp-mini was not imported"):
        published_accuracies("ELIX", "lamp-mini")


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='unknown --published "ELIZA"'):
        published_accuracies("ELIZA", imported(tmp_path / "data", "alignx"))
