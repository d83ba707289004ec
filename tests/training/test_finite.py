"""Stages end at the step whose loss, gradients or weights are not finite."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from models.tiny import WORDS, make_tiny, sentences

from personakit.config.training import GroupRLSettings, PreferenceSettings, TrainingSettings
from personakit.errors import RunError, UserError
from personakit.files import json_text, write_json
from personakit.training import fitting
from personakit.training.flat_rewards import PATIENCE
from personakit.training.group_rl import Prompt, RewardFunction
from personakit.training.group_rl import train as train_rl
from personakit.training.preference import TrainingPair, train_dpo
from personakit.training.run import Run
from personakit.training.supervised import PromptCompletion, finetune
from training.adapters import make_adapter
from training.staging import staged

TEXTS = sentences(8, longest=10)
QUICK: dict[str, Any] = {"per_device_train_batch_size": 4, "max_steps": 4, "save_steps": 1}
HERE = {"device": "cpu", "dtype": "float32", "learning_rate": 1e-3, "logging_steps": 1}
SPREAD = RewardFunction(lambda completions, **_: [float(len(text)) for text in completions], name="length")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONAKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def broken_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with one infinite weight."""
    from safetensors.torch import load_file, save_file

    folder = make_tiny(tmp_path_factory.mktemp("broken"))
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("mlp.down_proj.weight"))
    weights[name][0, 0] = math.inf
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def sft(base: Path, run: Run, **changes: Any) -> None:
    settings, stage = staged(TrainingSettings, run, "sft", **QUICK | HERE | changes)
    finetune(str(base), [PromptCompletion(text, WORDS[0]) for text in TEXTS], settings, stage)


def dpo(base: Path, run: Run, **changes: Any) -> None:
    settings, stage = staged(PreferenceSettings, run, "dpo", **QUICK | HERE | changes)
    train_dpo(str(base), [TrainingPair(text, WORDS[0], WORDS[1]) for text in TEXTS], settings, stage)


def rl(base: Path, run: Run, reward: RewardFunction = SPREAD, **changes: Any) -> None:
    settings, stage = staged(GroupRLSettings, run, "rl", **QUICK | HERE | {"num_generations": 4} | changes)
    train_rl(str(base), [Prompt(text) for text in TEXTS], [reward], settings, stage, max_completion_length=4)


Stage = Callable[..., None]


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


@pytest.mark.parametrize("stage", [sft, dpo, rl])
def test_a_broken_base_fails_at_the_first_step_and_is_named(
    stage: Stage, broken_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"step 1: the .*finite") as caught, _run(tmp_path) as run:
        stage(broken_folder, run)
    assert "mlp.down_proj.weight of the model is not finite" in caught.value.hint
    assert facts(tmp_path / "run")["status"] == "failed"
    assert not (tmp_path / "run" / "model").exists()


def _run(tmp_path: Path, **config: Any) -> Run:
    return Run.create(tmp_path / "run", "rpo", config, 3)


@pytest.mark.parametrize("stage", [sft, dpo, rl])
def test_a_rate_far_too_high_is_named_with_the_step(stage: Stage, tiny_folder: Path, tmp_path: Path) -> None:
    group = {"learning_rate": 1e30}
    failed = pytest.raises(RunError, match=r"step [234]: the .*finite|after step")
    with failed as caught, _run(tmp_path, **{stage.__name__: group}) as run:
        stage(tiny_folder, run, learning_rate=1e30, warmup_ratio=0.0)
    assert f"a lower {stage.__name__}.learning_rate (now 1e+30)" in caught.value.hint
    assert facts(tmp_path / "run")["stages"] == {}
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def test_the_last_good_checkpoint_is_kept_and_one_with_bad_weights_is_none(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Trainer

    maybe_save = Trainer._maybe_log_save_evaluate

    def poison(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 2:
            with torch.no_grad():
                next(self.model.parameters())[0, 0] = math.nan
        return maybe_save(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "_maybe_log_save_evaluate", poison)
    failed = pytest.raises(RunError, match=r"after step 2: the weight .* is not finite")
    with failed as caught, _run(tmp_path) as run:
        sft(tiny_folder, run)
    assert "the last good checkpoint is" in caught.value.hint
    kept = [path.parent.name for path in (tmp_path / "run" / "checkpoints").rglob("complete")]
    assert kept == ["checkpoint-1"]


def test_a_checkpoint_that_cannot_be_written_is_one_sentence_and_the_last_is_kept(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError
    from transformers import PreTrainedModel

    save = PreTrainedModel.save_pretrained

    def full(self: Any, folder: Any, *args: Any, **kwargs: Any) -> Any:
        if "checkpoint-2" in str(folder):
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        return save(self, folder, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedModel, "save_pretrained", full)
        failed = pytest.raises(RunError, match="checkpoint could not be written: No space left on device")
        with failed, _run(tmp_path) as run:
            sft(tiny_folder, run)
    assert facts(tmp_path / "run")["status"] == "failed"
    with Run.create(tmp_path / "run", "rpo", {}, 3, resume=True) as run:
        sft(tiny_folder, run)
        assert run.stage_done("sft")["steps"] == 4  # type: ignore[index]


@pytest.mark.parametrize(
    "message",
    [
        "[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0",
        "PytorchStreamWriter failed writing file data/0: file write failed",
    ],
)
def test_torch_errors_of_a_full_disk_are_recognized(message: str) -> None:
    from personakit.training.disk import disk_errors

    with pytest.raises(RunError, match="the result could not be written"), disk_errors("the result"):
        raise RuntimeError(message)
    with pytest.raises(RuntimeError, match="shape"), disk_errors("the result"):
        raise RuntimeError("shape mismatch")


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_rl_samples_and_scores_without_dropout(
    algorithm: str, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = make_adapter(tiny_folder, tmp_path / "adapter", rank=4)
    document = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(document | {"lora_dropout": 0.5}))
    seen: list[float] = []
    inner = fitting.watch_finite

    def watched(trainer: Any, *rest: Any) -> None:
        modules = trainer.model.modules()
        seen.extend(float(each.p) for each in modules if isinstance(each, torch.nn.Dropout))
        inner(trainer, *rest)

    monkeypatch.setattr(fitting, "watch_finite", watched)
    with _run(tmp_path) as run:
        rl(adapter, run, max_steps=1, r=4, algorithm=algorithm)
    assert seen
    assert set(seen) == {0.0}


@pytest.mark.parametrize("scale", ["group", "batch"])
def test_equal_rewards_give_no_nan_and_are_reported(
    scale: str, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = RewardFunction(lambda completions, **_: [0.5] * len(completions), name="flat")
    with _run(tmp_path) as run:
        rl(tiny_folder, run, flat, scale_rewards=scale, max_steps=PATIENCE)
    assert 'stage "rl": in the last 5 logged steps all completions' in capsys.readouterr().err
    assert facts(tmp_path / "run")["stages"]["rl"]["groups_without_spread"] == 1
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["grad_norm"] for line in lines] == [0.0] * PATIENCE


def test_few_flat_steps_are_reported_at_the_end_and_others_are_not(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = RewardFunction(lambda completions, **_: [0.5] * len(completions), name="flat")
    with _run(tmp_path) as run:
        rl(tiny_folder, run, flat, max_steps=2)
    assert "in all 2 logged steps" in capsys.readouterr().err
    with Run.create(tmp_path / "other", "rpo", {}, 3) as run:
        rl(tiny_folder, run, max_steps=2)
    assert "same reward" not in capsys.readouterr().err
    assert facts(tmp_path / "other")["stages"]["rl"]["groups_without_spread"] < 1


def test_json_stays_json(tmp_path: Path) -> None:
    document = {"a": math.nan, "b": [1.5, {"c": -math.inf}], "d": (math.inf, "NaN")}
    expected = {"a": None, "b": [1.5, {"c": None}], "d": [None, "NaN"]}
    assert json.loads(json_text(document), parse_constant=_refuse) == expected
    write_json(tmp_path / "x.json", document)
    assert json.loads((tmp_path / "x.json").read_text(), parse_constant=_refuse) == expected
    with _run(tmp_path) as run:
        run.log_metrics("sft", 1, loss=math.nan)
    [line] = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line, parse_constant=_refuse)["loss"] is None


def test_bad_input_of_a_stage_is_still_bad_input(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught, _run(tmp_path) as run:
        sft(tiny_folder, run, max_length=2)
    assert not isinstance(caught.value, RunError)
