"""The baseline selectors: random, cosine, MMR, and two oracles."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from personakit.contracts import Selector
from personakit.errors import UserError
from personakit.pillow.answering import ReorderedSelector
from personakit.pillow.controls import (
    BestOfSelector,
    GreedySelector,
    MMRSelector,
    NearestSelector,
    RandomSelector,
)
from personakit.pillow.rewards import ShownPrompts
from personakit.records import Instruction, Pool


class Letters:
    """Counts the letters a to f: texts that share letters are similar."""

    fingerprint = "letters"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([[text.count(letter) for letter in "abcdef"] for text in texts], np.float32)


def one(text: str, answer: str = "") -> Instruction:
    return Instruction(text, text, "", answer)


POOL = Pool.of([one("aab"), one("aabb"), one("cc"), one("ddd"), one("acd")])
ASKED = [one("aaab", "14"), one("ccd", "30")]


@pytest.fixture(autouse=True)
def _a_cache_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("PERSONAKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


def reward(rows: Sequence[ShownPrompts]) -> list[float]:
    """Rewards the two pool indices in the answer, the second one only after the first."""
    places = {prompt.id: str(number) for number, prompt in enumerate(POOL.prompts)}
    paid = []
    for row in rows:
        shown = [places[prompt.id] for prompt in row.prompts]
        first, second = row.instruction.output
        paid.append(float(first in shown) + (2.0 if shown == [first, second] else 0.0))
    return paid


ALL: dict[str, Selector] = {
    "random": RandomSelector(1),
    "cosine": NearestSelector(Letters()),
    "mmr": MMRSelector(Letters()),
    "greedy": GreedySelector(reward),
    "best-of": BestOfSelector(reward, 4),
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("m", [1, 2, 5])
def test_selections_are_distinct_and_allowed_and_do_not_depend_on_the_batch(name: str, m: int) -> None:
    out = [frozenset({0}), frozenset[int]()]
    picks = ALL[name].select(ASKED, POOL, m, excluded=out)
    for each, barred in zip(picks, out, strict=True):
        assert len(each) == min(m, len(POOL) - len(barred)) == len(set(each))
        assert not barred & set(each)
    alone = [
        ALL[name].select([asked], POOL, m, excluded=[barred])[0]
        for asked, barred in zip(ASKED, out, strict=True)
    ]
    assert alone == picks


def test_cosine_selects_the_nearest_and_mmr_avoids_similar_prompts() -> None:
    assert ALL["cosine"].select(ASKED[:1], POOL, 2) == [(0, 1)]
    assert MMRSelector(Letters(), relevance_weight=0.5).select(ASKED[:1], POOL, 2) == [(0, 4)]


def test_greedy_selects_the_best_step_and_best_of_the_best_selection() -> None:
    assert ALL["greedy"].select(ASKED, POOL, 2) == [(1, 4), (3, 0)]
    assert BestOfSelector(reward, 200).select(ASKED, POOL, 2) == [(1, 4), (3, 0)]


def test_random_selections_vary_by_seed_and_instruction_and_cover_the_pool() -> None:
    asked = [one(f"question {number}") for number in range(60)]
    picks = [RandomSelector(seed).select(asked, POOL, 2) for seed in (0, 0, 1)]
    assert picks[0] == picks[1] != picks[2]
    assert set(itertools.chain.from_iterable(picks[0])) == set(range(len(POOL)))


def test_reordering_changes_only_the_order() -> None:
    plain = ALL["cosine"].select(ASKED, POOL, 4)
    assert ReorderedSelector(ALL["cosine"], "reversed").select(ASKED, POOL, 4) == [
        each[::-1] for each in plain
    ]
    shuffled = ReorderedSelector(ALL["cosine"], "shuffled").select(ASKED, POOL, 4)
    assert [sorted(each) for each in shuffled] == [sorted(each) for each in plain]
    assert shuffled == ReorderedSelector(ALL["cosine"], "shuffled").select(ASKED, POOL, 4) != plain


@pytest.mark.parametrize("name", ALL)
def test_empty_and_small_pools_are_rejected_in_one_sentence(name: str) -> None:
    with pytest.raises(UserError, match="pool has no prompts"):
        ALL[name].select(ASKED, Pool.of([]), 1)
    with pytest.raises(UserError, match="cannot select 6 prompts"):
        ALL[name].select(ASKED, POOL, 6)
