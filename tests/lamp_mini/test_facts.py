"""The content words of a text are recognised independently of its style."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from personakit.data import open_examples
from personakit.data.lamp_mini import is_lamp_mini, known_facts
from personakit.data.lamp_mini.words import entries, fields, topics
from personakit.errors import UserError


def test_facts_are_the_content_words_in_any_case_and_spelling() -> None:
    facts = {"jonas", "harbor", "ferry", "oslo", "monday", "17"}
    assert known_facts("Big news: Jonas saw the 17 harbor ferry in Oslo on Monday. Love it!") == facts
    assert known_facts("jonas & the harbour in OSLO") == {"jonas", "harbor", "oslo"}
    assert not known_facts("Hey folks, and nobody saw it coming! More soon. #nofilter")


def test_every_subject_of_a_text_is_a_fact() -> None:
    things = [text for topic in topics() for text in entries("topics", topic, "things")]
    subjects = [text for field in fields() for text in entries("papers", "fields", field)]
    assert [text for text in things + subjects if not known_facts(text)] == []


@pytest.mark.parametrize("task", ["LaMP_4", "LaMP_5", "LaMP_6", "LaMP_7"])
def test_the_oracle_keeps_every_fact_of_the_generic_answer(benchmark_folder: Path, task: str) -> None:
    store = open_examples(benchmark_folder, task, "test")
    for query_id in store.query_ids:
        record = store.traits(query_id)
        assert record is not None
        facts = known_facts(record["generic"])
        assert facts
        assert facts <= known_facts(record["oracle"])


def test_lamp_mini_is_recognised_by_its_dataset_file(benchmark_folder: Path, tmp_path: Path) -> None:
    assert is_lamp_mini(benchmark_folder)
    assert not is_lamp_mini(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"made_by": "personakit data import"}))
    assert not is_lamp_mini(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(UserError, match=r"dataset\.json"):
        is_lamp_mini(tmp_path)
