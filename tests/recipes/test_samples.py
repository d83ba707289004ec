"""nano's training data, which has no phrase of lamp-mini's dev and test users."""

from __future__ import annotations

import re
from random import Random
from typing import get_args

import pytest

from personakit.data.lamp_formats import LAMP_TASKS, recognise_task
from personakit.data.lamp_mini.words import Phrases, phrases, vocabulary
from personakit.recipes import nano
from personakit.rpo.prompts import DRAFT, parse_trajectory

KINDS = get_args(Phrases)


def found(kind: str, split: str, text: str) -> bool:
    """Whether a text has one of the longer phrases; the short ones ("On", "Well,") occur everywhere."""
    shortest = 2 if kind == "methods" else 3
    return any(len(each.split()) >= shortest and each.casefold() in text for each in phrases(kind, split))


def test_answers_have_only_the_phrases_of_training_users() -> None:
    text = " | ".join(answer for _, answer in nano._training_pairs(900, Random(0))).casefold()
    assert [kind for kind in KINDS if not found(kind, "train", text)] == []
    assert [(kind, split) for kind in KINDS for split in ("dev", "test") if found(kind, split, text)] == []


def test_words_are_replaced_in_prompt_and_answer_alike() -> None:
    changed = 0
    for seed, plain in enumerate(nano._training_pairs(60, Random(1))):
        other = nano._with_other_words(*plain, Random(seed))
        replaced: dict[str, str] = {}
        for before, after in zip(plain, other, strict=True):
            old, new = re.findall(r"\w+", before), re.findall(r"\w+", after)
            for word, instead in zip(old, new, strict=True):
                assert replaced.setdefault(word, instead) == instead
        different = {word: instead for word, instead in replaced.items() if word != instead}
        assert len(different) <= 4
        assert {instead.lower() for instead in different.values()} <= set(vocabulary())
        assert all(word[0].isupper() == instead[0].isupper() for word, instead in different.items())
        changed += bool(different)
    assert changed > 30  # labels and ratings keep their words


def test_half_of_the_samples_have_other_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nano, "_with_other_words", lambda *_: ("other", "words"))
    share = list(nano.samples(120, 5)).count(("other", "words")) / 120
    assert share == pytest.approx(0.5, abs=0.15)


def test_all_tasks_occur_with_and_without_a_draft(pairs: list[tuple[str, str]]) -> None:
    generic = {recognise_task(prompt) for prompt, _ in pairs}
    assert generic >= set(LAMP_TASKS)
    rewrites = [answer for prompt, answer in pairs if DRAFT in prompt]
    assert len(rewrites) > 10
    assert all(parse_trajectory(answer) for answer in rewrites)
    assert not any(parse_trajectory(answer) for prompt, answer in pairs if DRAFT not in prompt)


def test_samples_are_the_same_for_a_seed(pairs: list[tuple[str, str]]) -> None:
    assert list(nano.samples(10, 5)) == pairs[:10]
    assert list(nano.samples(10, 6)) != pairs[:10]
