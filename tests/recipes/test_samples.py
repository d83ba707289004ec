"""nano's training data, which excludes the benchmark's users."""

from __future__ import annotations

import re

import pytest

from personakit.data.lamp_formats import LAMP_TASKS, recognise_task
from personakit.data.lamp_mini.words import methods, style_words
from personakit.recipes import nano
from personakit.rpo.prompts import DRAFT, parse_trajectory

BENCHMARK_WORDS = {*style_words("benchmark"), *methods("benchmark")}


def words(*texts: str) -> set[str]:
    return set(re.findall(r"\w+", " ".join(texts)))


def test_training_data_has_no_style_words_of_the_benchmark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nano, "_OTHER_WORDS_SHARE", 0.0)
    assert not any(words(*pair) & BENCHMARK_WORDS for pair in nano.samples(150, 0))


def test_words_are_replaced_in_prompt_and_answer_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = 0
    for seed in range(25):
        monkeypatch.setattr(nano, "_OTHER_WORDS_SHARE", 0.0)
        [plain] = nano.samples(1, seed)
        monkeypatch.setattr(nano, "_OTHER_WORDS_SHARE", 1.0)
        [other] = nano.samples(1, seed)
        replaced: dict[str, str] = {}
        for before, after in zip(plain, other, strict=True):
            old, new = re.findall(r"\w+", before), re.findall(r"\w+", after)
            for word, instead in zip(old, new, strict=True):
                assert replaced.setdefault(word, instead) == instead
        different = {word: instead for word, instead in replaced.items() if word != instead}
        assert len(different) <= 4
        assert len(set(different.values())) == len(different)
        assert set(different.values()) <= set(style_words("benchmark"))
        changed += bool(different)
    assert changed == 25


def test_half_of_the_samples_have_other_words(pairs: list[tuple[str, str]]) -> None:
    share = sum(bool(words(*pair) & BENCHMARK_WORDS) for pair in pairs) / len(pairs)
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
