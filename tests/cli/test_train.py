"""`personakit train rpo`: dry run, training, interruption and resuming."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from .conftest import Call, Called
from .interrupting import InterruptsAt


@pytest.fixture
def train(call: Call, tiny_model: Path, tiny_data: Path) -> Call:
    """Return `train("--output", ...)`, four steps on a tiny model and tiny data."""
    settings = (
        *(f"model={tiny_model}", f"base={tiny_model}", f"data.path={tiny_data}", "data.tasks=[LaMP_7]"),
        *(
            "sft.max_steps=4",
            "sft.per_device_train_batch_size=2",
            "sft.save_steps=1",
            "lora.r=0",
        ),
        *("decoding.max_new_tokens=8", "controls.fine_tuned_context_injection=false"),
    )

    def run(*arguments: str | Path) -> Called:
        return call("train", "rpo", *settings, *arguments)

    return run


def test_dry_run_prints_the_plan_and_writes_nothing(train: Call, tmp_path: Path) -> None:
    done = train("--dry-run", "--json", "data.limit=2")
    assert done.status == 0, done.err
    assert done.document["queries"] == {"LaMP_7": 2}
    assert done.document["config"]["sft"]["max_steps"] == 4
    # Without a GPU there are estimates for two devices: this machine and a GPU.
    planned = [(each["stage"], each["device"]) for each in done.document["memory"]]
    assert planned[-2:] == [("generic answers", "cuda"), ("SFT", "cuda")]
    assert all(each["bytes"] > 0 for each in done.document["memory"])
    with_rl = train("--dry-run", "stages=all", "sft.max_length=2048", "rl.max_completion_length=64")
    assert [line.split()[0] for line in with_rl.out.splitlines()[-4:-1]] == ["generic", "SFT", "RL"]
    assert list(tmp_path.iterdir()) == []


def test_settings_of_a_stage_that_does_not_run_are_named(train: Call) -> None:
    given = ("--dry-run", "data.limit=2", "rl.max_completion_length=64")
    needed = "rl.max_completion_length has no effect without stages=all"
    assert needed in train(*given).err.splitlines()
    assert "has no effect" not in train(*given, "stages=all", "sft.max_length=2048").err


def test_interrupted_run_prints_how_to_resume(
    train: Call, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train("--output", tmp_path / "whole").status == 0
    with monkeypatch.context() as patch:
        patch.setattr("personakit.training.progress.choose_progress", lambda **_: InterruptsAt("sft", 2))
        stopped = train("--output", tmp_path / "stopped")
    assert stopped.status == 130
    resume = f"personakit train rpo --output {tmp_path / 'stopped'} --resume"
    assert stopped.err.splitlines()[-2:] == ["interrupted", f"hint: `{resume}` continues from here"]
    assert json.loads((tmp_path / "stopped" / "run.json").read_text())["status"] == "interrupted"
    resumed = call(*resume.split()[1:])
    assert resumed.status == 0, resumed.err
    one, other = (tmp_path / name / "model" / "model.safetensors" for name in ("whole", "stopped"))
    assert one.read_bytes() == other.read_bytes()


def test_commands_use_the_newest_run(train: Call, call: Call) -> None:
    trained = train("--json").document
    assert Path(trained["run"]).parent == Path("runs")
    [listed] = call("runs", "--json").document
    assert (listed["folder"], listed["status"]) == (trained["run"], "finished")
    assert call("infer").status == 0


def test_a_run_s_adapter_is_trained_further_on_other_data(train: Call, tmp_path: Path) -> None:
    """The model of a run continues: its adapter, not a new one on its base."""
    first, second = tmp_path / "first", tmp_path / "second"
    lora = ("lora.r=2", "lora.lora_alpha=4")
    assert train("--output", first, *lora).status == 0
    done = train("--output", second, *lora, f"model={first / 'model'}", "sft.learning_rate=1e-9")
    assert done.status == 0, done.err
    before, after = (load_file(run / "model" / "adapter_model.safetensors") for run in (first, second))
    assert before.keys() == after.keys()
    for name, weights in before.items():
        assert torch.allclose(weights, after[name], atol=1e-6)
    assert any(weights.abs().max() > 0 for name, weights in after.items() if "lora_B" in name)
