"""Memory estimates of stages, and the error after running out of memory."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from forking import ForkServer
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, Qwen3Config

from personakit.config.training import LoraSettings
from personakit.errors import RunError
from personakit.models.available_memory import available_memory
from personakit.training import memory
from personakit.training import out_of_memory as levers
from personakit.training.memory import (
    MemoryEstimate,
    Workload,
    estimate_memory,
    shared_fraction,
)
from personakit.training.out_of_memory import first_remedy, out_of_memory, plan_memory
from personakit.training.run import Run

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 200,
}
LLAMA = LlamaConfig(**SMALL, num_key_value_heads=2, tie_word_embeddings=True)
CONFIGS = [LLAMA, Qwen3Config(**SMALL, num_key_value_heads=2, head_dim=16), GPTNeoXConfig(**SMALL)]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_parameters_are_counted_without_allocation(config: Any) -> None:
    counted = sum(weight.numel() for weight in AutoModelForCausalLM.from_config(config).parameters())
    estimate = estimate_memory(config, Workload(rows=2, length=32))
    assert (estimate.parameters, estimate.trained) == (counted, counted)
    assert (estimate.weights, estimate.gradients, estimate.optimizer) == (
        4 * counted,
        4 * counted,
        8 * counted,
    )
    large = Qwen3Config(hidden_size=4096, intermediate_size=12288, num_hidden_layers=36, vocab_size=151936)
    assert estimate_memory(large, Workload(rows=4, length=2048)).total > 100e9


def test_trained_parameters_equal_pefts_and_frozen_ones_are_bfloat16_on_cuda() -> None:
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(
        AutoModelForCausalLM.from_config(LLAMA),
        LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    trained, every = adapted.get_nb_trainable_parameters()
    work: dict[str, Any] = {"rows": 2, "length": 32, "lora": LoraSettings(r=4)}
    estimate = estimate_memory(LLAMA, Workload(**work))
    assert (estimate.trained, estimate.parameters) == (trained, every)
    assert estimate.weights == 4 * every
    assert estimate.optimizer == 8 * trained
    cuda = estimate_memory(LLAMA, Workload(**work, device="cuda", dtype="bfloat16"))
    assert cuda.weights == 4 * trained + 2 * (every - trained)
    assert LLAMA.dtype is None  # the caller's configuration is unchanged


def test_activations_equal_autograds_saved_tensors() -> None:
    """Compared with the saved tensors of a real pass of the same model."""
    model = AutoModelForCausalLM.from_config(LLAMA).train()
    held = {weight.untyped_storage()._cdata for weight in model.parameters()}
    saved: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in held:
            saved[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model.model(torch.zeros(4, 64, dtype=torch.long), use_cache=False).last_hidden_state
    assert hidden.requires_grad
    counted = sum(storage.nbytes() for storage in saved.values())
    estimate = estimate_memory(LLAMA, Workload(rows=4, length=64))
    # The backward pass needs one more layer; a fake pass has a mask, and keys repeated per query head.
    assert 1.0 < estimate.activations / (counted * (1 + 1 / 3)) < 1.2


def test_effect_of_each_setting_on_the_estimate() -> None:
    base: dict[str, Any] = {"rows": 8, "length": 256}

    def of(**changes: Any) -> MemoryEstimate:
        return estimate_memory(LLAMA, Workload(**base | changes))

    plain = of()
    assert of(rows=4).activations == pytest.approx(plain.activations / 2, rel=0.01)
    assert of(scored=32).logits == pytest.approx(plain.logits / 8, rel=0.1)
    assert of(dtype="bfloat16").activations < 0.8 * plain.activations
    deep = LlamaConfig(**SMALL | {"num_hidden_layers": 24}, num_key_value_heads=2)
    recomputed = estimate_memory(deep, Workload(**base, gradient_checkpointing=True)).activations
    assert recomputed < 0.35 * estimate_memory(deep, Workload(**base)).activations
    assert of(prefix_factor=0.25).activations == plain.activations // 4
    assert of(reference=True).weights == 2 * plain.weights
    adapter = LoraSettings(r=4)
    assert of(reference=True, lora=adapter).weights == of(lora=adapter).weights
    # Two processes store everything twice (DDP, with buckets) or half each (FSDP, except gathered layers).
    assert of(devices=2).gradients == 2 * plain.gradients
    half = of(devices=2, sharding="fsdp")
    assert (half.gradients, half.optimizer) == (plain.gradients // 2, plain.optimizer // 2)
    assert plain.weights / 2 < half.weights < 2 * plain.weights
    # A cache for completions: layers x keys and values x heads x width x float32 x tokens.
    written = of(decoded_rows=16, length=256)
    assert written.cache == 3 * 2 * 2 * 16 * 4 * 16 * 256
    assert of(decoded_rows=10_000).total == plain.weights + plain.optimizer + of(decoded_rows=10_000).cache


def test_cached_counts_depend_on_every_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_counts_by_shape", {})
    shapes: list[dict[str, Any]] = [{}, {"rows": 3}, {"length": 40}, {"scored": 5}, {"dtype": "bfloat16"}]
    shapes += [{"lora": LoraSettings(r=2)}, {"lora": LoraSettings(r=2, target_modules=".*q_proj")}]
    works = [(LLAMA, Workload(**{"rows": 2, "length": 32} | shape)) for shape in shapes]
    works.append((LlamaConfig(**SMALL | {"num_hidden_layers": 2}), Workload(rows=2, length=32)))
    together = [estimate_memory(*work) for work in works]
    for work, estimate in zip(works, together, strict=True):
        memory._counts_by_shape.clear()
        assert estimate_memory(*work) == estimate


def test_shared_fraction() -> None:
    assert shared_fraction(1024, 64, 8) == pytest.approx(1 / 5.667, rel=1e-3)  # total/computed tokens
    assert shared_fraction(1024, 64, 1) == 1.0


def test_plan_is_recorded_and_warns_only_if_it_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Workload(rows=8, length=256)
    with Run.create(tmp_path / "a", "rpo", {}, 0) as run:
        estimate = plan_memory(LLAMA, work, run, "sft")
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(levers, "available_memory", lambda device: estimate.total - 1)
        plan_memory(LLAMA, work, run, "dpo")
    printed = capsys.readouterr().err
    assert printed.startswith('warning: stage "dpo" will need about 0.0')
    assert "are free: lower per_device_train_batch_size" in printed
    recorded = json.loads((tmp_path / "a" / "run.json").read_text())["memory"]
    assert recorded["sft"]["total"] == estimate.total
    assert recorded["dpo"]["available"] == estimate.total - 1


def test_available_memory_is_plausible() -> None:
    import psutil

    assert 0 < available_memory("cpu") <= psutil.virtual_memory().total


CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.15 GiB, 1 is free."


def refused_by_the_allocator() -> None:
    torch.empty(2**60, dtype=torch.uint8)


def refused_by_python() -> None:
    bytearray(2**62)


def refused_by_cuda() -> None:
    raise torch.OutOfMemoryError(CUDA)


@pytest.mark.parametrize(
    ("allocate", "asked"),
    [
        (refused_by_the_allocator, "1152921504.6 GB more were requested"),
        (refused_by_python, "no more could be allocated"),
        (refused_by_cuda, "2.00 GiB more were requested"),
    ],
)
def test_out_of_memory_error_lists_remedies(allocate: Any, asked: str) -> None:
    work = Workload(rows=16, length=1024, decoded_rows=16)
    with pytest.raises(RunError) as caught, out_of_memory(work, "grpo"):
        allocate()
    message, hint = caught.value.message, caught.value.hint
    assert message.startswith(f'stage "grpo" ran out of memory on this machine: {asked}, and ')
    assert "16 rows of up to 1024 tokens" in message
    order = [
        "lower per_device_train_batch_size",
        "gradient_checkpointing=true",
        "lower max_length",
        "lora.r=16",
    ]
    places = [hint.index(lever) for lever in order]
    assert places == sorted(places)


def test_other_errors_pass_through() -> None:
    with pytest.raises(RuntimeError, match="shapes"), out_of_memory(Workload(rows=1, length=8), "sft"):
        raise RuntimeError("shapes do not match")


def test_impossible_remedies_are_not_listed() -> None:
    lowest = Workload(rows=1, length=512, gradient_checkpointing=True, lora=LoraSettings(r=8))
    assert first_remedy(lowest) == "lower max_length (now 512 tokens)"
    with pytest.raises(RunError) as caught, out_of_memory(lowest, "sft"):
        raise MemoryError
    assert "per_device_train_batch_size" not in caught.value.hint
    assert "smaller model" in caught.value.hint


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="calibrated on Linux")
@pytest.mark.parametrize("case", ["SFT, 2 rows", "SFT, 8 rows, gradient checkpointing"])
def test_estimate_is_close_to_the_measured_peak(case: str, forked: ForkServer) -> None:
    benchmark = str(ROOT / "benchmarks" / "memory.py")
    script = f"import runpy; runpy.run_path({benchmark!r}, run_name='__main__')"
    done = forked.run(script, "--case", case)
    assert done.status == 0, done.err[-3000:]
    printed = json.loads(done.out.splitlines()[-1])
    assert 0.7 < printed["estimate"] / printed["measured"] < 1.5, printed
