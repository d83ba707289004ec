"""`personakit train popi`: dry run, training, interruption and resuming."""

from __future__ import annotations

from pathlib import Path

import pytest

from personakit.data.preferences import write_users
from personakit.records import PreferencePair, PreferenceUser, Signals

from .conftest import Call, Called
from .interrupting import InterruptsAt


@pytest.fixture(scope="module")
def preferences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six users who prefer their own letter; the last one has no held-out pairs."""
    folder = tmp_path_factory.mktemp("preferences")
    users = []
    for letter in "abcdef":

        def pair(prompt: str, letter: str = letter) -> PreferencePair:
            return PreferencePair(
                letter, f"{prompt} {letter}", f"{letter * 3} {prompt}", f"z {prompt} {letter}"
            )

        users.append(PreferenceUser(letter, Signals((pair("said"),)), (pair("one"), pair("two"))))
    users[-1] = PreferenceUser("f", users[-1].signals, ())
    (folder / "preferences").mkdir()
    write_users(folder / "preferences" / "train.jsonl", users)
    return folder


@pytest.fixture
def train(call: Call, tiny_model: Path, preferences: Path) -> Call:
    """Return `train("--output", ...)`, a few steps on a tiny model and tiny data."""
    settings = (
        *(f"model={tiny_model}", f"data.path={preferences}", "max_length=512", "data.signal_tokens=300"),
        *(
            "data.held_out=0",
            "lora.r=2",
            "warm_start.max_steps=1",
            "warm_start.per_device_train_batch_size=2",
        ),
        *("warm_start.summaries=template", "controls.population_dpo=false", "controls.raw_dpo=false"),
        *(
            "joint.max_steps=3",
            "joint.per_device_train_batch_size=2",
            "joint.num_summaries=2",
            "joint.num_pairs=2",
        ),
        *("joint.max_summary_tokens=24", "joint.save_steps=1"),
    )

    def run(*arguments: str | Path) -> Called:
        return call("train", "popi", *settings, *arguments)

    return run


def test_dry_run_counts_training_data_and_writes_nothing(train: Call, tmp_path: Path) -> None:
    done = train("--dry-run", "--json", "warm_start.generator=true")
    assert done.status == 0, done.err
    assert done.document["users"] == {"users": 5, "pairs": 10}
    assert list(done.document["skipped"].values()) == [1]
    stages = [each["stage"] for each in done.document["memory"] if each["device"] == "cuda"]
    assert stages == ["warm start, inference", "warm start, generator", "joint"]
    assert all(each["bytes"] > 0 for each in done.document["memory"])
    assert list(tmp_path.iterdir()) == []


def test_interrupted_run_resumes_to_the_same_weights(
    train: Call, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train("--output", tmp_path / "whole")
    assert whole.status == 0, whole.err
    assert f"next: personakit eval preference --run {tmp_path / 'whole'}" in whole.err
    with monkeypatch.context() as patch:
        patch.setattr("personakit.training.progress.choose_progress", lambda **_: InterruptsAt("joint", 2))
        stopped = train("--output", tmp_path / "stopped")
    assert stopped.status == 130
    resume = f"personakit train popi --output {tmp_path / 'stopped'} --resume"
    assert stopped.err.splitlines()[-1] == f"hint: `{resume}` continues from here"
    assert call(*resume.split()[1:]).status == 0
    for role in ("inference", "generator"):
        one, other = (
            tmp_path / name / "model" / role / "adapter_model.safetensors" for name in ("whole", "stopped")
        )
        assert one.read_bytes() == other.read_bytes()
    [first, second] = call("runs", tmp_path, "--json").document
    assert first["method"] == second["method"] == "popi"


def test_invalid_user_limit_is_an_error(train: Call, tmp_path: Path) -> None:
    refused = train("data.held_out=5", "--output", tmp_path / "run")
    assert refused.status == 2
    assert "data.held_out is 5, expected less than the 5 users" in refused.err
