"""The shipped weights: nano answers, copies, and its tokenizer keeps prompts short."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from personakit.data.lamp_formats import LAMP_TASKS, search_text
from personakit.data.lamp_mini import Knobs
from personakit.data.lamp_mini.texts import generic
from personakit.data.lamp_mini.traits import draw_traits
from personakit.data.lamp_mini.users import GeneratedExample, make_example
from personakit.data.lamp_mini.words import words_of
from personakit.models.local import LocalModel
from personakit.models.nano import FOLDER as NANO_FOLDER
from personakit.recipes import nano
from personakit.tasks import get_task

QUERIES = 6


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return LocalModel.load(str(NANO_FOLDER), device="cpu")


def made(task: str) -> list[GeneratedExample]:
    """Queries of the benchmark's test users, whom nano has never met."""
    knobs = Knobs()
    return [
        make_example(
            task, Random(f"query {number}"), draw_traits(Random(number), "test", knobs), "test", knobs
        )
        for number in range(QUERIES)
    ]


@pytest.mark.parametrize("task", LAMP_TASKS)
def test_nano_gives_the_generic_answer_without_a_profile(task: str, model: LocalModel) -> None:
    known, examples = get_task(task), made(task)
    rows = model.generate([each.input for each in examples], max_new_tokens=known.max_new_tokens)
    answers = [row[0].strip() for row in rows]
    assert not any(known.unparsable(answer) for answer in answers)
    if task == "LaMP_1":
        assert set(answers) <= {"[1]", "[2]"}
        return
    right = [answer == generic(each.content) for answer, each in zip(answers, examples, strict=True)]
    assert sum(right) >= QUERIES - 2


@pytest.mark.parametrize("task", LAMP_TASKS[3:])
def test_nano_copies_content_words(task: str, model: LocalModel) -> None:
    examples = made(task)
    rows = model.generate([each.input for each in examples], max_new_tokens=40)
    shares = []
    for row, each in zip(rows, examples, strict=True):
        words = set(words_of(row[0]))
        shares.append(len(words & set(words_of(search_text(task, each.input)))) / max(1, len(words)))
    assert sum(shares) / len(shares) > 0.6


def test_fixed_literals_are_one_token_and_text_round_trips(model: LocalModel) -> None:
    tokenizer: Any = model.tokenizer
    assert {len(tokenizer(wording)["input_ids"]) for wording in nano.fixed_literals()} == {1}
    for task in LAMP_TASKS:
        text = made(task)[0].input
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
        assert len(tokenizer(text)["input_ids"]) < 60


def test_nano_is_small(model: LocalModel) -> None:
    assert model.model.num_parameters() < 2_000_000
    assert (Path(NANO_FOLDER) / "model.safetensors").stat().st_size < 5_000_000
