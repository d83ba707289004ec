"""Prompts that do not fit are treated alike in training and evaluation."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from models.architectures import make_stand_in

from personakit.config.loading import load
from personakit.config.train_popi import TrainPOPI
from personakit.errors import UserError
from personakit.methods import open_popi, read_run
from personakit.models.cost import token_counter
from personakit.popi.limits import limits_of
from personakit.popi.method import METHOD
from personakit.popi.rows import tokenize_users
from personakit.popi.train import summarised, training_limits
from personakit.records import PreferencePair, PreferenceUser, Signals
from personakit.tasks.signals import PLAIN, SHORTENED, prompt_with_summary
from popi.runs_of import make_preferences, make_run


def user(name: str, *texts: str) -> PreferenceUser:
    signals = Signals(tuple(PreferencePair(name, text, f"{text} yes", f"{text} no") for text in texts))
    return PreferenceUser(name, signals, (PreferencePair(name, "the sea", "a tide", "no"),))


PEOPLE = [
    user("fits", "the cat", "the dog"),
    user("drops", "the old cat " * 30, "the dog"),
    user("shortens", "the old cat " * 60),
    user("none"),
]


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with Qwen3's chat template."""
    return make_stand_in("Qwen/Qwen3-0.6B", tmp_path_factory.mktemp("chat"))


def test_training_and_evaluation_show_the_same_signals(chat_model: Path, tmp_path: Path) -> None:
    # The signals may take all that a summary leaves; the chat template needs a part of that.
    lengths = {"max_length": 320, "data.signal_tokens": 312}
    folder = make_run(tmp_path / "run", chat_model, make_preferences(tmp_path / "data"), **lengths)
    run = read_run(folder)
    config, count = run.settings, token_counter(str(chat_model))
    limits = training_limits(config)
    assert limits.signals == 320 - 8 - limits.added < 312
    trained, counts = summarised(config, PEOPLE, PLAIN, count, limits)
    summariser = open_popi(run).summariser()
    shown = {each.user_id: summariser.prompt(each.signals) for each in PEOPLE}
    assert {each.user_id: each.summary_prompt for each in trained} == {
        name: prompt for name, (prompt, _) in shown.items() if name != "none"
    }
    assert shown["none"] == ("", {})
    assert shown["drops"][1] == {"pairs": 1}
    assert shown["shortens"][1] == {SHORTENED: 1}
    assert counts["users left out: no signal that fits"] == 1
    assert (counts["signals dropped to fit: pairs"], counts["signals shortened to fit"]) == (1, 1)
    # All of them have room for a summary in tokens, too.
    tokenizer = open_popi(run).models["base"].tokenizer
    with_summary = partial(prompt_with_summary, wording=PLAIN)
    tokenize_users(tokenizer, trained, with_summary, summary_tokens=8, max_length=320)


def test_no_room_for_signals_is_an_error(chat_model: Path) -> None:
    settings = ["max_length=64", "data.signal_tokens=32", "joint.max_summary_tokens=60"]
    with pytest.raises(UserError, match="64 tokens have no room for signals"):
        training_limits(load(TrainPOPI, None, [f"model={chat_model}", *settings]))


def test_a_short_context_window_limits_signals_and_pairs() -> None:
    settings = load(TrainPOPI, None, ["max_length=1000", "data.signal_tokens=700"])
    limits = limits_of(settings, added=10, window=500)
    assert (limits.total, limits.signals, limits.summary) == (500, 234, 256)
    pair = PreferencePair("u", "ask " * 150, "yes", "no " * 80)

    def words(text: str) -> int:
        return len(text.split())

    assert not limits.fits(pair, PLAIN, words)
    assert limits_of(settings, added=10, window=None).fits(pair, PLAIN, words)


def test_context_injection_sees_as_much_as_the_inference_model() -> None:
    def context(tokens: int) -> int:
        settings = load(TrainPOPI, None, ["max_length=4000", f"data.signal_tokens={tokens}"])
        return METHOD.baseline_settings(settings).context_tokens

    assert (context(200), context(2048)) == (512, 2048)


def test_answers_have_the_configured_limit(chat_model: Path, tmp_path: Path) -> None:
    data = make_preferences(tmp_path / "data")
    for name, more, limit in (("a", {}, 100), ("b", {"decoding.max_new_tokens": 7}, 7)):
        opened = open_popi(read_run(make_run(tmp_path / name, chat_model, data, **more)))
        assert opened.personalizer().max_new_tokens == limit
