"""Per-user adapters: each learns its user's preference and starts from scratch."""

from __future__ import annotations

from pathlib import Path

import pytest

from personakit.config.train_popi import PerUserSettings
from personakit.errors import RunError, UserError
from personakit.popi.adapters import BASE
from personakit.popi.models import AdaptedModel, open_adapters
from personakit.popi.per_user_lora import PerUserLora
from personakit.records import PreferencePair

from .codes import REQUESTS, with_summary


def tuner_on(base: AdaptedModel, learning_rate: float = 0.02) -> PerUserLora:
    settings = PerUserSettings(max_steps=6)
    return PerUserLora(base, with_summary, settings, learning_rate=learning_rate, beta=0.1)


@pytest.fixture
def models(tiny_folder: Path, tmp_path: Path) -> dict[str, AdaptedModel]:
    """A base model with an adapter that has an effect."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(tiny_folder)
    lora = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(network, lora).save_pretrained(tmp_path / "adapter")
    return open_adapters(str(tiny_folder), {"generator": tmp_path / "adapter"})


def liking(chosen: str, rejected: str) -> list[PreferencePair]:
    return [PreferencePair("u", request, chosen, rejected) for request in REQUESTS[:4]]


def test_an_adapter_learns_its_users_preference_and_the_next_starts_from_scratch(
    models: dict[str, AdaptedModel],
) -> None:
    tuner = tuner_on(models[BASE])
    asked, told = [REQUESTS[9]] * 2, ["red", "blue"]
    others = {name: model.score(asked, told) for name, model in models.items()}
    assert others["generator"] != others[BASE]
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
    # It is on the loaded base model, and the other rows' models are as they were.
    for name, model in models.items():
        assert model.score(asked, told) == pytest.approx(others[name], abs=1e-5)


def test_a_user_without_signal_pairs_is_rejected(models: dict[str, AdaptedModel]) -> None:
    with pytest.raises(UserError, match="no signal pairs"):
        tuner_on(models[BASE]).fit([])


def test_a_rate_far_too_high_names_the_user_and_the_step(models: dict[str, AdaptedModel]) -> None:
    tuner = tuner_on(models[BASE], learning_rate=1e30)
    with pytest.raises(RunError, match=r"the adapter of user u, step [2-6]: the .* finite") as caught:
        tuner.fit(liking("red", "blue"))
    assert "1e+30" in (caught.value.hint or "")
