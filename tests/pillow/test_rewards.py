"""Rewards of selections, and their cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from personakit.errors import RunError
from personakit.models.local import LocalModel
from personakit.pillow.rewards import ShownPrompts, TextReward, reward_key
from personakit.pillow.wording import Templated
from personakit.records import Instruction

ASKED = Instruction("q", "Name it.", "b", "bee")
ONE, OTHER = Instruction("1", "Name it.", "a", "ant"), Instruction("2", "Name it.", "c", "cat")


@pytest.fixture
def model(tiny_model: Path) -> LocalModel:
    return LocalModel.load(str(tiny_model))


def test_the_likelihood_is_the_geometric_mean_of_the_token_probabilities(model: LocalModel) -> None:
    reward = TextReward(model, Templated("plain"), {"likelihood": 1.0}, max_new_tokens=4)
    [paid] = reward([ShownPrompts(ASKED, (ONE, OTHER))])
    # The first prompt is next to the instruction; four tokens: three letters and the end of sequence.
    prompt = "Name it.\nc\nNotice: cat\n\nName it.\na\nNotice: ant\n\nName it.\nb\nNotice:"
    assert paid == pytest.approx(math.exp(model.score([prompt], ["bee"])[0] / 4), rel=1e-5)


def test_the_reward_is_a_weighted_sum_minus_the_prompt_cost(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalModel, "generate", lambda self, prompts, **_: [["bee"] for _ in prompts])
    weights = {"rouge-L": 0.5, "exact": 0.25, "likelihood": 0.0}
    reward = TextReward(model, Templated("plain"), weights, max_new_tokens=4, prompt_cost=0.1)
    assert reward([ShownPrompts(ASKED, (ONE, OTHER)), ShownPrompts(ASKED, ())]) == pytest.approx([0.55, 0.75])


def test_cosine_compares_the_answer_with_the_reference(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Letters:
        fingerprint = "letters"

        def encode(self, texts: Sequence[str]) -> Any:
            return np.array([[text.count("b"), text.count("e")] for text in texts], np.float32)

    monkeypatch.setattr(LocalModel, "generate", lambda self, prompts, **_: [["bbe"] for _ in prompts])
    reward = TextReward(model, Templated("plain"), {"cosine": 1.0}, max_new_tokens=4, encoder=Letters())
    # (2, 1) with (1, 2) of the reference "bee"; a zero vector has similarity 0.
    assert reward([ShownPrompts(ASKED, (ONE,))]) == pytest.approx([0.8])
    assert reward([ShownPrompts(replace(ASKED, output="ant"), (ONE,))]) == [0.0]


def test_cached_rewards_are_not_computed_again(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [ShownPrompts(ASKED, (ONE,)), ShownPrompts(ASKED, (OTHER,)), ShownPrompts(ASKED, (ONE,))]

    def reward() -> TextReward:
        return TextReward(model, Templated("plain"), {"likelihood": 1.0}, max_new_tokens=4)

    first = reward()
    paid = first(rows)
    assert (first.hits, first.misses) == (1, 2)
    monkeypatch.setattr(LocalModel, "score", None)
    later = reward()
    assert later(rows) == paid
    assert (later.hits, later.misses) == (3, 0)


def test_a_reward_that_is_not_finite_fails_and_is_not_cached(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = TextReward(model, Templated("plain"), {"likelihood": 1.0}, max_new_tokens=4)
    row = ShownPrompts(replace(ASKED, output="a new one"), (ONE,))
    with monkeypatch.context() as patch:
        patch.setattr(LocalModel, "score", lambda self, prompts, golds: [math.nan] * len(prompts))
        with pytest.raises(RunError, match="the likelihood reward is nan"):
            reward([row])
    assert math.isfinite(reward([row])[0])


def test_everything_that_determines_a_reward_is_in_its_key(model: LocalModel) -> None:
    def key(row: ShownPrompts | None = None, template: Any = "plain", **changed: Any) -> bytes:
        known = model if not changed else _SentenceEncoder(**changed)
        return reward_key(
            known, Templated(template), row or ShownPrompts(ASKED, (ONE, OTHER)), ["likelihood"]
        )

    same = ShownPrompts(replace(ASKED, id="another"), (replace(ONE, id="x"), OTHER))
    assert key(same) == key()
    others = [
        key(ShownPrompts(ASKED, (OTHER, ONE))),
        key(ShownPrompts(ASKED, (ONE,))),
        key(ShownPrompts(replace(ASKED, output="wasp"), (ONE, OTHER))),
        key(ShownPrompts(replace(ASKED, input="d"), (ONE, OTHER))),
        key(ShownPrompts(ASKED, (replace(ONE, output="emu"), OTHER))),
        key(template="alpaca"),
        key(fingerprint="other weights"),
        reward_key(model, Templated("plain"), ShownPrompts(ASKED, (ONE, OTHER)), ["rouge-L", 4]),
        reward_key(model, Templated("plain"), ShownPrompts(ASKED, (ONE, OTHER)), ["rouge-L", 5]),
    ]
    assert len({key(), *others}) == 1 + len(others)


class _SentenceEncoder:
    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
