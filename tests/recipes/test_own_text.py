"""The recipe for a user's own data: its training pairs, and invalid data."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from personakit.data.lamp import write_split
from personakit.data.lamp_formats import build_input, profile_item, search_text
from personakit.errors import UserError
from personakit.recipes import own_text
from personakit.records import Example, Instruction, PreferencePair, PreferenceUser, Profile, Query, Signals


def example(text: str = "rain in town", gold: str | None = "hark, rain") -> Example:
    worded = build_input("LaMP_4", text=text)
    items = (profile_item("LaMP_4", "0", {"title": "hark, snow", "text": "snow in town"}),)
    query = Query("40", "LaMP_4", worded, search_text("LaMP_4", worded), "ada", gold)
    return Example(query, Profile("ada", items))


def test_a_query_gives_three_training_pairs() -> None:
    plain, copied, told = own_text.task_pairs([example()], Random(0))
    assert plain == (example().query.text, "hark, rain")
    assert copied[0].startswith("rain in town")
    assert copied[1] == "rain in town"
    assert "hark, snow" in told[0]
    assert told[1] == "hark, rain"


def test_queries_without_gold_or_too_long_are_left_out() -> None:
    some = [example(gold=None), example(text="word " * 300), example(gold="word " * 300)]
    assert list(own_text.task_pairs(some, Random(0))) == []


def test_both_answers_of_every_pair_are_training_pairs() -> None:
    pair, long = PreferencePair("u", "ask", "yes", "no"), PreferencePair("u", "ask more", "yes", "no " * 300)
    user = PreferenceUser("u", Signals((pair,)), (long,))
    task_pairs = list(own_text.preference_pairs([user]))
    assert task_pairs == [("ask", "yes"), ("ask", "no"), ("ask more", "yes")]


def test_instructions_occur_alone_and_after_an_example() -> None:
    some = [Instruction("1", "Add.", "1 and 1", "two"), Instruction("2", "Add.", "1 and 2", "word " * 300)]
    some.append(Instruction("3", "Add.", "2 and 2", "four"))
    task_pairs = list(own_text.instruction_pairs(some, Random(3)))
    assert {answer for _, answer in task_pairs} == {"two", "four"}
    assert max(prompt.count("### Instruction") for prompt, _ in task_pairs) == 2


@pytest.mark.parametrize(
    ("split", "gold", "message"), [("dev", "a gold", "no training split"), ("train", None, "gold answer")]
)
def test_data_without_training_pairs_is_refused(
    split: str, gold: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSONAKIT_CACHE", str(tmp_path / "cache"))
    one = example()
    write_split(tmp_path / "data", split, [replace(one, query=replace(one.query, gold=gold))])
    arguments = ["own_text", "--data", str(tmp_path / "data"), "--output", str(tmp_path / "model")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(UserError, match=message):
        own_text.main()
    assert not (tmp_path / "model").exists()
