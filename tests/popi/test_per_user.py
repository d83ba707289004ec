"""Per-user adapters: each learns its user's preference and starts from scratch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from personakit.errors import RunError, UserError
from personakit.popi.per_user_lora import PerUserLora, PerUserSettings
from personakit.records import PreferencePair

from .codes import REQUESTS, with_summary

SETTINGS = PerUserSettings(device="cpu", dtype="float32", max_steps=6, learning_rate=0.02)


def liking(chosen: str, rejected: str) -> list[PreferencePair]:
    return [PreferencePair("u", request, chosen, rejected) for request in REQUESTS[:4]]


def test_an_adapter_learns_its_users_preference_and_the_next_starts_from_scratch(tiny_folder: Path) -> None:
    tuner = PerUserLora(str(tiny_folder), with_summary, SETTINGS)
    asked, told = [REQUESTS[9]] * 2, ["red", "blue"]
    before = tuner.score(asked, told)
    assert before == tuner.reference(asked, told)
    cost = tuner.fit(liking("red", "blue"))
    after = tuner.score(asked, told)
    assert after[0] - before[0] > after[1] - before[1] + 0.5
    assert tuner.reference(asked, told) == pytest.approx(before, abs=1e-5)
    # Four prompts of one token, twice, with answers of one token and the end of sequence, in six steps.
    assert cost.tokens == 6 * 4 * 2 * 3
    assert cost.bytes > 0
    assert cost.seconds > 0
    tuner.fit(liking("blue", "red"))
    other = tuner.score(asked, told)
    assert other[1] - before[1] > other[0] - before[0] + 0.5
    tuner.fit(liking("red", "blue"))
    assert tuner.score(asked, told) == pytest.approx(after, abs=1e-5)


def test_a_user_without_signal_pairs_is_rejected(tiny_folder: Path) -> None:
    with pytest.raises(UserError, match="no signal pairs"):
        PerUserLora(str(tiny_folder), with_summary, SETTINGS).fit([])


def test_a_rate_far_too_high_names_the_user_and_the_step(tiny_folder: Path) -> None:
    tuner = PerUserLora(str(tiny_folder), with_summary, replace(SETTINGS, learning_rate=1e30))
    with pytest.raises(RunError, match=r"the adapter of user u, step [2-6]: the .* finite") as caught:
        tuner.fit(liking("red", "blue"))
    assert "1e+30" in caught.value.hint
