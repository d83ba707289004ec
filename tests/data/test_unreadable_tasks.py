"""Only requested tasks are read; LaMP_6 as published and as LaMP's own script completes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from personakit.data import available, open_examples
from personakit.data.check import check_data
from personakit.data.folders import all_tasks, unreadable_tasks
from personakit.data.imports import import_data
from personakit.data.lamp import write_split
from personakit.errors import UserError
from tests.data.made import user_split

STUB = {"id": "500", "input": "000-000001-EM.txt", "profile": [{"text": "000-000002-EM.txt", "id": "5000"}]}


@pytest.fixture
def lamp(tmp_path: Path) -> Path:
    """A folder with a readable LaMP_7 and LaMP_6 as LaMP publishes it."""
    folder = tmp_path / "lamp"
    for split in ("train", "dev"):
        write_split(folder / "LaMP_7", split, user_split("LaMP_7"))
    (folder / "LaMP_6").mkdir()
    for split in ("train", "dev"):
        (folder / "LaMP_6" / f"{split}_questions.json").write_text(json.dumps([STUB]))
    return folder


def test_e_mail_names_block_no_other_task(
    lamp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert available(lamp) == [("LaMP_7", "train"), ("LaMP_7", "dev")]
    assert len(open_examples(lamp, "LaMP_7")) == len(open_examples(lamp)) == 12
    assert all_tasks(lamp, "dev") == ["LaMP_7"]
    assert "create_avocado_dataset.py" in capsys.readouterr().err
    report = check_data(lamp)
    assert {split.task for split in report.splits} == {"LaMP_7"}
    assert any("LaMP_6" in each and "000-000001-EM.txt" in each for each in report.warnings)
    imported = import_data(lamp, tmp_path / "out")
    assert list(imported.tasks) == ["LaMP_7"]
    assert imported.read["tasks left out because their e-mails are missing"].count == 1


@pytest.mark.parametrize("task", ["LaMP_6", "LaMP-6"])
def test_the_task_with_e_mail_names_is_explained(task: str, lamp: Path, tmp_path: Path) -> None:
    for reading in (
        lambda: open_examples(lamp, task),
        lambda: open_examples(lamp / "LaMP_6"),
        lambda: check_data(lamp / "LaMP_6"),
        lambda: import_data(lamp, tmp_path / "out", task=task),
    ):
        with pytest.raises(UserError, match="the name of an e-mail's file") as raised:
            reading()
        assert "LDC2015T03" in raised.value.hint


def test_a_damaged_task_blocks_what_asks_for_it_or_for_all(lamp: Path, tmp_path: Path) -> None:
    broken = lamp / "LaMP_6" / "train_questions.json"
    broken.write_text("[{")
    assert len(open_examples(lamp, "LaMP_7")) == 12
    assert list(unreadable_tasks(lamp)) == ["LaMP_6"]
    assert list(import_data(lamp, tmp_path / "one", task="LaMP_7").tasks) == ["LaMP_7"]
    for reading in (
        lambda: open_examples(lamp, "LaMP_6"),
        lambda: all_tasks(lamp, "train"),
        lambda: check_data(lamp),
        lambda: import_data(lamp, tmp_path / "out"),
    ):
        with pytest.raises(UserError, match="cut off"):
            reading()
    with pytest.raises(UserError, match='has no task "LaMP_3", expected one of LaMP_7'):
        open_examples(lamp, "LaMP_3")


@pytest.mark.parametrize("form", ['{{"task": "LaMP_6", "golds": {}}}', '{{"golds": {}, "task": "LaMP_6"}}\n'])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_questions_in_an_object_are_read(form: str, bom: str, tmp_path: Path) -> None:
    questions = user_split("LaMP_6", users=3)
    write_split(tmp_path, "test", questions)
    path = tmp_path / "test_questions.json"
    expected = list(open_examples(tmp_path, split="test"))
    path.write_text(bom + form.format(path.read_text()), encoding="utf-8")
    assert list(open_examples(tmp_path, split="test")) == expected
    path.write_text(path.read_text(encoding="utf-8").strip().removesuffix("}"), encoding="utf-8")
    with pytest.raises(UserError, match='not valid JSON, expected "}" after the list'):
        open_examples(tmp_path, split="test")


def test_gold_files_and_preference_files_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    from personakit.data.preferences import open_preferences
    from tests.data import preference_rows as made

    write_split(tmp_path, "dev", user_split("LaMP_7"))
    (tmp_path / "preferences").mkdir()
    made.write(tmp_path / "preferences" / "dev.jsonl", made.native_rows(2))
    for path in (tmp_path / "dev_outputs.json", tmp_path / "preferences" / "dev.jsonl"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert open_examples(tmp_path)[0].query.gold
    assert open_preferences(tmp_path, "dev").user_ids == ["user0", "user1"]
