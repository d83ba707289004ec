"""QLoRA on a CPU with bitsandbytes: consecutive stages, and unsupported settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from models.tiny import WORDS, make_tiny, sentences

from personakit.config.training import (
    GroupRLSettings,
    LoraSettings,
    PreferenceSettings,
    TrainingSettings,
    no_lora,
)
from personakit.errors import UserError
from personakit.models.local import LocalModel
from personakit.training import group_rl, preference, supervised
from personakit.training.four_bit import load_in_four_bit
from personakit.training.memory import Workload, estimate_memory
from personakit.training.precision import Precision
from personakit.training.progress import SilentProgress
from personakit.training.run import Run
from personakit.training.stage import check_lora
from personakit.training.weights import load_trainable
from training.staging import staged

pytest.importorskip("bitsandbytes")

CPU = Precision("cpu", "float32", "a test")
COMMON: dict[str, Any] = {"r": 4, "load_in_4bit": True, "per_device_train_batch_size": 4, "logging_steps": 1}
COMMON |= {"device": "cpu", "dtype": "float32", "learning_rate": 1e-2, "gradient_checkpointing": True}
EXAMPLES = [supervised.PromptCompletion(text, f"{text.split()[0]} cat") for text in sentences(12)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("wide"), width=64)  # one scale per 64 weights


@pytest.fixture(scope="module")
def tuned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run of a supervised stage."""
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    finetune(base, folder)
    return folder


def finetune(
    base: Path, folder: Path, *, resume: bool = False, progress: SilentProgress | None = None
) -> supervised.StageResult:
    given = COMMON | {"num_train_epochs": 2, "save_steps": 1, "progress": progress or SilentProgress()}
    with Run.create(folder, "rpo", {}, 1, resume=resume) as run:
        return supervised.finetune(str(base), EXAMPLES, *staged(TrainingSettings, run, "sft", **given))


def metrics(folder: Path, stage: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["stage"] == stage]


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


def test_only_linear_layers_are_in_four_bits(base: Path) -> None:
    network = load_in_four_bit(str(base), CPU, "float32")[0]
    kinds = {type(module).__name__ for module in network.model.layers.modules()}
    assert "Linear4bit" in kinds
    assert "Linear" not in kinds
    query = network.model.layers[0].self_attn.q_proj.weight
    assert (query.quant_state.quant_type, query.quant_state.nested) == ("nf4", True)
    assert network.lm_head.weight.dtype == network.model.norm.weight.dtype == torch.float32
    ids = torch.arange(8)[None]

    def gradient() -> torch.Tensor:
        embedded = network.get_input_embeddings()(ids).detach().requires_grad_(True)
        network(inputs_embeds=embedded).logits.square().sum().backward()
        assert embedded.grad is not None
        return embedded.grad

    # A pass without gradients, such as a rollout, does not change the layers for later passes with gradients.
    expected = gradient()
    with torch.no_grad():
        before = network.eval()(ids).logits
    torch.testing.assert_close(gradient(), expected)
    whole = LocalModel.load(str(base), device="cpu").model
    distance = (before - whole(ids).logits).norm() / before.norm()
    assert 0.01 < distance < 0.7  # quantization error of random weights is large


def test_sft_adapter_loads_on_the_full_precision_base(base: Path, tuned: Path) -> None:
    lines = metrics(tuned, "sft")
    assert lines[-1]["loss"] < lines[0]["loss"]
    weights = adapter(tuned / "model")
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert all(value.any() for value in weights.values())
    assert sorted(path.name for path in (tuned / "model").glob("*.safetensors")) == [
        "adapter_model.safetensors"
    ]
    model = LocalModel.load(str(tuned / "model"), device="cpu")
    assert {type(each).__name__ for each in model.model.modules()}.isdisjoint({"Linear4bit"})
    assert model.model.dtype == torch.float32
    asked = [example.prompt for example in EXAMPLES]
    gold = [example.completion for example in EXAMPLES]
    assert sum(model.score(asked, gold)) > sum(LocalModel.load(str(base), device="cpu").score(asked, gold))


def test_resumed_stage_ends_with_the_same_weights(base: Path, tuned: Path, tmp_path: Path) -> None:
    class StopsAt(SilentProgress):
        def update(self, done: int, **facts: float) -> None:
            if done >= 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(base, tmp_path / "run", progress=StopsAt())
    assert not (tmp_path / "run" / "model").exists()
    assert finetune(base, tmp_path / "run", resume=True).steps == 6
    file = Path("model") / "adapter_model.safetensors"
    assert (tmp_path / "run" / file).read_bytes() == (tuned / file).read_bytes()


def test_rl_continues_the_adapter_in_float32(tuned: Path, tmp_path: Path) -> None:
    def letters(completions: Sequence[str], **_: Any) -> list[float]:
        return [len(set(text)) / 8 for text in completions]

    given = COMMON | {"learning_rate": 1e-6, "lr_scheduler_type": "constant", "warmup_ratio": 0.0}
    given |= {"num_generations": 4, "max_steps": 2, "beta": 0.05}
    prompts = [group_rl.Prompt(example.prompt, {}) for example in EXAMPLES]
    with Run.create(tmp_path / "run", "rpo", {}, 1) as run:
        start = str(tuned / "model")
        settings, stage = staged(GroupRLSettings, run, "rl", **given)
        rewards = [group_rl.RewardFunction(letters)]
        group_rl.train(start, prompts, rewards, settings, stage, max_completion_length=6, reference=start)
    first = metrics(tmp_path / "run", "rl")[0]
    assert first["kl"] == pytest.approx(0, abs=1e-6)  # relative to SFT's adapter
    assert first["reward_std"] > 0
    old, new = adapter(tuned / "model"), adapter(tmp_path / "run" / "model")
    steps = torch.cat([(new[name] - old[name]).flatten().abs() for name in old])
    assert 1e-7 < steps.max() < 3e-6  # AdamW changes a weight by about the learning rate per step


def test_dpo_reference_is_the_four_bit_model(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSONAKIT_CACHE", str(tmp_path / "cache"))
    pairs = [preference.TrainingPair(each.prompt, each.completion, "old old dog") for each in EXAMPLES]
    given = COMMON | {"learning_rate": 1e-3, "max_steps": 4}
    with Run.create(tmp_path / "run", "rpo", {}, 1) as run:
        preference.train_dpo(str(tuned / "model"), pairs, *staged(PreferenceSettings, run, "dpo", **given))
    lines = metrics(tmp_path / "run", "dpo")
    assert lines[0]["margin"] == pytest.approx(0, abs=1e-4)
    assert lines[-1]["margin"] > 0
    # Log-probabilities differ from those in full precision.
    prints = {
        load_trainable(str(tuned / "model"), LoraSettings(r=4, load_in_4bit=four_bit), CPU).fingerprint
        for four_bit in (True, False)
    }
    assert len(prints) == 2


def test_merging_into_quantized_weights_is_an_error(base: Path, tmp_path: Path) -> None:
    network, tokenizer, *_ = load_in_four_bit(str(base), CPU, "float32")
    network.save_pretrained(tmp_path / "quantized")
    tokenizer.save_pretrained(tmp_path / "quantized")
    with pytest.raises(UserError, match="are quantized, which cannot train"):
        load_trainable(str(tmp_path / "quantized"), no_lora(), CPU)


def test_missing_four_bit_requirements_are_errors(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"load_in_4bit is true and lora\.r is 0"):
        check_lora(LoraSettings(r=0, load_in_4bit=True))
    given = COMMON | {"num_generations": 4, "vllm_mode": "colocate"}
    prompts = [group_rl.Prompt(WORDS[0], {})]
    rewards = [group_rl.RewardFunction(lambda **_: [])]
    with Run.create(tmp_path / "run", "rpo", {}, 1) as run:
        settings, stage = staged(GroupRLSettings, run, "rl", **given)
        with pytest.raises(UserError, match="sent to vLLM"):
            group_rl.train(str(base), prompts, rewards, settings, stage, max_completion_length=6)
    with monkeypatch.context() as patch:
        patch.setenv("ACCELERATE_USE_FSDP", "true")
        with pytest.raises(UserError, match="shards the weights"):
            load_in_four_bit(str(base), CPU, "float32")
    monkeypatch.setattr("transformers.utils.import_utils.is_bitsandbytes_available", lambda: False)
    with pytest.raises(UserError, match="bitsandbytes is not installed") as caught:
        load_in_four_bit(str(base), CPU, "float32")
    assert "personakit[four-bit]" in caught.value.hint


def test_estimate_matches_four_bit_storage(base: Path) -> None:
    network = load_in_four_bit(str(base), CPU, "float32")[0]
    held = sum(weight.nbytes for weight in network.parameters())
    for weight in network.parameters():
        state = getattr(weight, "quant_state", None)
        if state is not None:
            held += state.absmax.nbytes + state.state2.absmax.nbytes
    work = Workload(rows=1, length=8, lora=LoraSettings(r=4, load_in_4bit=True))
    estimate = estimate_memory(network.config, work)
    largest = 64 * 128 * 4
    assert estimate.weights - 4 * estimate.trained - largest == pytest.approx(held, rel=0.01)
    plain = estimate_memory(network.config, Workload(rows=1, length=8, lora=LoraSettings(r=4)))
    assert estimate.parameters == plain.parameters
    assert estimate.optimizer == plain.optimizer
