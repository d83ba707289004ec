from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from models.tiny import WORDS, sentences

from personakit.config.training import PreferenceSettings
from personakit.errors import UserError
from personakit.models.local import LocalModel
from personakit.training.fitting import StageResult
from personakit.training.preference import TrainingPair, train_dpo
from personakit.training.run import Run
from training.adapters import make_adapter
from training.staging import staged

PAIRS = [
    TrainingPair(text, WORDS[n], f"{WORDS[n + 5]} {WORDS[n + 6]}")
    for n, text in enumerate(sentences(10, longest=12))
]
QUICK: dict[str, Any] = {
    "num_train_epochs": 2,
    "per_device_train_batch_size": 5,
    "learning_rate": 1e-3,
    "logging_steps": 1,
    "device": "cpu",
    "dtype": "float32",
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONAKIT_CACHE", str(tmp_path / "cache"))


def train(
    base: Path | str, folder: Path, pairs: list[TrainingPair] | None = None, **changes: Any
) -> StageResult:
    with Run.create(folder, "popi", QUICK | changes, 3) as run:
        settings, stage = staged(PreferenceSettings, run, "dpo", **QUICK | changes)
        return train_dpo(str(base), PAIRS if pairs is None else pairs, settings, stage)


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("rank", [0, 8])
def test_preference_accuracy_increases(tiny_folder: Path, tmp_path: Path, rank: int) -> None:
    done = train(tiny_folder, tmp_path / "run", num_train_epochs=15, learning_rate=5e-3, r=rank)
    lines = metrics(tmp_path / "run")
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-3)  # the policy is the reference
    assert lines[-1]["loss"] < 0.3
    assert lines[-1]["accuracy"] == 1.0
    before, after = (LocalModel.load(str(model), device="cpu") for model in (tiny_folder, done.model))
    for pair in PAIRS:
        better, worse = ([pair.prompt, pair.prompt], [pair.chosen, pair.rejected])
        chosen, rejected = (
            new - old
            for new, old in zip(after.score(better, worse), before.score(better, worse), strict=True)
        )
        assert chosen > rejected


@pytest.mark.parametrize("kind", ["full", "new adapter", "adapter gone on with", "adapter merged"])
def test_the_reference_is_the_model_it_begins_with(tiny_folder: Path, tmp_path: Path, kind: str) -> None:
    """With the base in the model's configuration as the reference, margins would not start at 0."""
    start = make_adapter(tiny_folder, tmp_path / "adapter") if kind.startswith("adapter") else tiny_folder
    rank = 0 if kind in ("full", "adapter merged") else 4
    done = train(start, tmp_path / "run", r=rank, max_steps=2)
    first, second = metrics(tmp_path / "run")
    assert first["chosen_reward"] == pytest.approx(0, abs=1e-5)
    assert first["rejected_reward"] == pytest.approx(0, abs=1e-5)
    assert abs(second["margin"]) > 1e-4
    saved = {path.name for path in done.model.iterdir()}
    assert ("adapter_model.safetensors" in saved) == (rank > 0)
    assert "ref" not in saved  # TRL's frozen copy of the adapter


def test_tokens_equal_those_at_inference(tmp_path: Path) -> None:
    """In nano's byte-level BPE, tokens at the boundary of prompt and answer would merge."""
    pairs = [
        TrainingPair("Answer: th", "e answer", "at is it"),
        TrainingPair("The film was goo", "d enough", "gly"),
    ]
    train("nano", tmp_path / "run", pairs, per_device_train_batch_size=2, max_steps=1, learning_rate=1e-9)
    (line,) = metrics(tmp_path / "run")
    model = LocalModel.load(str(_nano()), device="cpu")
    chosen = model.score([pair.prompt for pair in pairs], [pair.chosen for pair in pairs])
    rejected = model.score([pair.prompt for pair in pairs], [pair.rejected for pair in pairs])
    assert line["chosen_logp"] == pytest.approx(sum(chosen) / 2, rel=1e-5)
    assert line["rejected_logp"] == pytest.approx(sum(rejected) / 2, rel=1e-5)


def _nano() -> Path:
    from personakit.models.nano import FOLDER

    return FOLDER


def test_accumulation_does_not_change_the_loss(tiny_folder: Path, tmp_path: Path) -> None:
    train(tiny_folder, tmp_path / "a", per_device_train_batch_size=4)
    train(tiny_folder, tmp_path / "b", per_device_train_batch_size=2, gradient_accumulation_steps=2)
    for whole, parts in zip(metrics(tmp_path / "a"), metrics(tmp_path / "b"), strict=True):
        assert parts["loss"] == pytest.approx(whole["loss"], abs=1e-4)
        assert parts["tokens"] == whole["tokens"]


def test_run_records_the_stage(tiny_folder: Path, tmp_path: Path) -> None:
    done = train(tiny_folder, tmp_path / "run", per_device_train_batch_size=4)
    stage = json.loads((tmp_path / "run" / "run.json").read_text())["stages"]["dpo"]
    assert (done.steps, done.examples) == (5, 10)
    assert stage["tokens"] == done.tokens == metrics(tmp_path / "run")[-1]["tokens"]
    assert len(stage["reference"]) == 64
    changed = QUICK | {"per_device_train_batch_size": 4}
    with Run.create(tmp_path / "run", "popi", changed, 3, resume=True) as run:
        assert train_dpo("no/such-model", [], *staged(PreferenceSettings, run, "dpo", **QUICK)) == done


def test_invalid_examples_are_errors(tiny_folder: Path, tmp_path: Path) -> None:
    same = [PAIRS[0], TrainingPair("the cat", "sat", "sat")]
    with pytest.raises(UserError, match="pair 2: chosen and rejected are the same"):
        train(tiny_folder, tmp_path / "a", same)
    long = [PAIRS[0], TrainingPair("mat " * 50, "the cat", "the")]
    with pytest.raises(UserError, match=r"pair 2 has 50 \+ 3 tokens.*expected at most 30"):
        train(tiny_folder, tmp_path / "b", long, max_length=30)
    assert train(tiny_folder, tmp_path / "c", long, max_length=30, too_long="cut").cut == 1
    with pytest.raises(UserError, match="has no preference pairs"):
        train(tiny_folder, tmp_path / "d", [])
    adapter = make_adapter(tiny_folder, tmp_path / "adapter")
    with pytest.raises(UserError, match=r"adapter of rank 4, and lora\.r is 8"):
        train(adapter, tmp_path / "e", r=8)
