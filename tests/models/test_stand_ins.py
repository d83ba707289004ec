"""Stand-ins for other black-box models: how they differ from the underlying model, reproducibly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from personakit.contracts import LanguageModel
from personakit.data.lamp_formats import FORMATS
from personakit.data.lamp_mini import known_facts
from personakit.errors import UserError
from personakit.models.cache import CachedModel
from personakit.models.cost import token_counter
from personakit.models.open import check_model, open_language_model, resolve_model
from personakit.models.stand_ins import ERROR_RATE, STAND_INS, StandIn, split_name
from personakit.tasks import get_task


class Says:
    """Answers a prompt with the prompt; counts what it is asked."""

    fingerprint = "says"

    def __init__(self) -> None:
        self.asked = 0

    def generate(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        self.asked += len(prompts)
        return [[prompt] * samples for prompt in prompts]

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        return [0.0] * len(prompts)

    def count_tokens(self, text: str) -> int:
        return len(text.split())


def said(kind: str, texts: Sequence[str]) -> list[str]:
    return [row[0] for row in StandIn(Says(), kind).generate(texts, max_new_tokens=9)]


HEADLINES = [f"alice{number} opens comet in lisbon" for number in range(400)]


@pytest.mark.parametrize("kind", sorted(STAND_INS))
def test_answers_do_not_depend_on_batch_or_cache(kind: str) -> None:
    together = said(kind, HEADLINES[:50])
    assert together == [said(kind, [text])[0] for text in HEADLINES[:50]]
    model = Says()
    cached = CachedModel(StandIn(model, kind))
    for _ in range(2):
        assert [row[0] for row in cached.generate(HEADLINES[:50], max_new_tokens=9)] == together
    assert model.asked == 50


def test_stand_ins_differ_in_length_and_errors() -> None:
    words = {kind: sum(len(text.split()) for text in said(kind, HEADLINES)) / 400 for kind in STAND_INS}
    assert words["terse"] < 4 < words["noisy"] < 5 < 8 < words["wordy"]
    wrong = (
        sum(text != answer for text, answer in zip(HEADLINES, said("noisy", HEADLINES), strict=True)) / 400
    )
    assert wrong == pytest.approx(ERROR_RATE, abs=0.06)


def test_terse_shortens_texts_and_keeps_labels() -> None:
    assert said("terse", ["saw comet with alice in lisbon", "based on a book", "4", "and", ""]) == [
        "saw comet alice",
        "based on a book",
        "4",
        "and",
        "",
    ]


@pytest.mark.parametrize("task", ["LaMP_1", "LaMP_2", "LaMP_3"])
def test_labels_are_parsed_from_wordy_answers(task: str) -> None:
    labels = FORMATS[task].labels
    answers = said("wordy", labels)
    assert all(len(answer) > len(label) + 10 for answer, label in zip(answers, labels, strict=True))
    assert [get_task(task).parse(answer) for answer in answers] == list(labels)


def test_wordy_adds_no_facts() -> None:
    assert {known_facts(text) for text in said("wordy", [f"x{n}" for n in range(60)])} == {frozenset()}


@pytest.mark.parametrize("task", ["LaMP_1", "LaMP_2", "LaMP_3"])
def test_noisy_labels_are_valid_and_noisy_ratings_are_off_by_one(task: str) -> None:
    labels = FORMATS[task].labels
    stand_in = StandIn(Says(), "noisy")
    for label in labels:
        answers = {stand_in._change(f"prompt {number}", label) for number in range(60)}
        assert label in answers
        assert len(answers) > 1
        assert answers <= set(labels)
        if task == "LaMP_3":
            assert all(abs(int(answer) - int(label)) <= 1 for answer in answers)


def test_noisy_drops_or_swaps_words_and_adds_none() -> None:
    for text, answer in zip(HEADLINES, said("noisy", HEADLINES), strict=True):
        assert set(answer.split()) <= set(text.split())
        assert len(answer.split()) >= len(text.split()) - 1


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("nano:terse", ("nano", "terse")),
        ("/some/folder:noisy", ("/some/folder", "noisy")),
        ("nano", None),
        ("nano:loud", None),
        (":terse", None),
        ("openai:llama3:8b", None),
    ],
)
def test_stand_in_names(name: str, parts: tuple[str, str] | None) -> None:
    assert split_name(name) == parts


def test_a_stand_in_opens_by_name_and_cannot_score(tiny_folder: Path) -> None:
    inner = open_language_model(str(tiny_folder))
    boxes = {kind: open_language_model(f"{tiny_folder}:{kind}") for kind in STAND_INS}
    assert all(isinstance(box, LanguageModel) for box in boxes.values())
    assert len({inner.fingerprint, *(box.fingerprint for box in boxes.values())}) == 4
    assert {kind: check_model(f"{tiny_folder}:{kind}") for kind in STAND_INS} == {
        kind: box.fingerprint for kind, box in boxes.items()
    }
    assert token_counter(f"{tiny_folder}:wordy")("the cat sat") == inner.count_tokens("the cat sat") == 3
    [[plain]] = inner.generate(["the cat"], max_new_tokens=6)
    [[polite]] = boxes["wordy"].generate(["the cat"], max_new_tokens=6)
    assert plain.strip() in polite
    with pytest.raises(UserError, match="black box"):
        boxes["terse"].score(["a"], ["b"])
    with pytest.raises(UserError, match="stand-in") as caught:
        resolve_model("nano:terse")
    assert caught.value.hint == "use the model before the colon: nano"
    with pytest.raises(UserError, match="adapter"):
        open_language_model("nano:terse", adapter=tiny_folder)
