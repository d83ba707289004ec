"""The number format of local inference on a CPU: how it is chosen, and what it changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from personakit.errors import UserError
from personakit.models import cpu, number_format
from personakit.models.cache import AnswerCache, CachedModel
from personakit.models.local import LocalModel
from personakit.models.number_format import SMALL, choose_format, count_weights
from personakit.models.packed_linear import PackedLinear, pack_linears

from .tiny import make_tiny

LARGE = SMALL + 1


@pytest.fixture(autouse=True)
def _units(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A CPU with bfloat16 units, and nothing measured yet."""
    monkeypatch.setenv("PERSONAKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(number_format.VARIABLE, raising=False)
    monkeypatch.setattr(number_format, "bfloat16_units", lambda: ["amx_bf16"])


@pytest.mark.parametrize(
    ("ratios", "dtype"),
    [
        ({1: 1.5, 16: 2.0, 128: 3.0}, "bfloat16"),
        ({1: 0.7, 16: 2.0, 128: 3.0}, "float32"),  # slower with one prompt: not even for many
        ({1: 1.0, 16: 1.05, 128: 1.1}, "float32"),  # not worth the rounding
        ({}, "float32"),  # torch has no kernels
    ],
)
def test_bfloat16_is_taken_only_if_no_batch_size_is_slower(
    monkeypatch: pytest.MonkeyPatch, ratios: dict[int, float], dtype: str
) -> None:
    monkeypatch.setattr(number_format, "measure", lambda: ratios)
    chosen = choose_format("cpu", LARGE)
    assert chosen.dtype == dtype
    assert "amx_bf16" in chosen.reason
    assert all(f"{ratio:.1f}x at {rows} rows" in chosen.reason for rows, ratio in ratios.items())


def test_the_measurement_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def measure() -> dict[int, float]:
        calls.append(1)
        return {1: 2.0}

    monkeypatch.setattr(number_format, "measure", measure)
    first = choose_format("cpu", LARGE)
    assert choose_format("cpu", LARGE) == first
    assert len(calls) == 1
    monkeypatch.setattr(number_format, "cpu_name", lambda: "another CPU")
    choose_format("cpu", LARGE)
    assert len(calls) == 2


def test_the_real_measurement_gives_a_ratio_per_batch_size() -> None:
    ratios = number_format.measure()
    assert not ratios or (list(ratios) == [1, 16, 128] and min(ratios.values()) > 0)


def test_small_models_and_cpus_without_units_stay_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure() -> dict[int, float]:
        raise AssertionError("measured")

    monkeypatch.setattr(number_format, "measure", measure)
    assert choose_format("cpu", SMALL - 1).dtype == "float32"
    monkeypatch.setattr(number_format, "bfloat16_units", list)
    assert "no bfloat16 units" in choose_format("cpu", LARGE).reason
    assert choose_format("cuda").dtype == "bfloat16"


def test_the_environment_sets_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(number_format.VARIABLE, "float32")
    assert "PERSONAKIT_DTYPE" in choose_format("cpu", LARGE).reason
    monkeypatch.setenv(number_format.VARIABLE, "fp8")
    with pytest.raises(UserError, match='PERSONAKIT_DTYPE is "fp8", expected one of auto, float32, bfloat16'):
        choose_format("cpu", LARGE)


def test_the_format_is_part_of_the_cache_key_but_not_of_the_models_identity(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = make_tiny(tmp_path / "model")
    cache = AnswerCache(tmp_path / "answers.sqlite")
    small = LocalModel.load(str(folder), device="cpu")
    assert small.dtype == "float32"
    assert small.answer_fingerprint == small.fingerprint
    CachedModel(small, cache).generate(["a prompt"], max_new_tokens=3)
    monkeypatch.setenv(number_format.VARIABLE, "bfloat16")
    low = LocalModel.load(str(folder), device="cpu")
    assert (low.dtype, low.fingerprint) == ("bfloat16", small.fingerprint)
    cached = CachedModel(low, cache)
    cached.generate(["a prompt"], max_new_tokens=3)
    assert (cached.hits, cached.misses) == (0, 1)
    monkeypatch.delenv(number_format.VARIABLE)
    again = CachedModel(LocalModel.load(str(folder), device="cpu"), cache)
    again.generate(["a prompt"], max_new_tokens=3)
    assert (again.hits, again.misses) == (1, 0)


def test_bfloat16_answers_and_scores_are_the_float32_ones_up_to_rounding(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = make_tiny(tmp_path / "model")
    exact = LocalModel.load(str(folder), device="cpu")
    monkeypatch.setenv(number_format.VARIABLE, "bfloat16")
    low = LocalModel.load(str(folder), device="cpu")
    prompts, completions = ["one prompt", "another one", "a third"], ["an answer", "b", "c d e"]
    expected, scores = exact.score(prompts, completions), low.score(prompts, completions)
    assert scores == pytest.approx(expected, rel=0.02)
    assert low.generate(prompts, max_new_tokens=4) == [
        low.generate([prompt], max_new_tokens=4)[0] for prompt in prompts
    ]


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bfloat16 kernels")
def test_packed_layers_follow_their_weights_and_their_gradients() -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(48, 80, dtype=torch.bfloat16)
    packed = torch.nn.Linear(48, 80, dtype=torch.bfloat16)
    packed.load_state_dict(plain.state_dict())
    pack_linears(torch.nn.Sequential(packed))
    assert isinstance(packed, PackedLinear)
    states = torch.randn(2, 3, 48, dtype=torch.bfloat16)
    for _ in range(2):
        with torch.inference_mode():
            torch.testing.assert_close(packed(states), plain(states), rtol=1e-2, atol=1e-2)
            assert packed(states[:0]).shape == (0, 3, 80)
        with torch.no_grad():  # such as merging an adapter
            plain.weight.mul_(2)
            packed.weight.mul_(2)
    packed(states).sum().backward()
    assert packed.weight.grad is not None
    assert set(packed.state_dict()) == {"weight", "bias"}


def test_weights_are_counted_without_loading_them(tmp_path: Path) -> None:
    from transformers import AutoConfig

    model = LocalModel.load(str(make_tiny(tmp_path / "model")), device="cpu")
    config = AutoConfig.from_pretrained(tmp_path / "model")
    assert count_weights(config) == sum(weight.numel() for weight in model.model.parameters())


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"), ({"GOMP_SPINCOUNT": "9"}, "None")],
)
def test_waiting_threads_sleep_unless_the_user_decides(environment: dict[str, str], expected: str) -> None:
    script = (
        "import os; from personakit.models.environment import silence_libraries as s; s(); "
        "print(os.environ.get('OMP_WAIT_POLICY'))"
    )
    own = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY",)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=own | environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected


def test_cores_are_limited_by_the_quota_and_the_affinity(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(cpu, "_QUOTA", quota)
    free = cpu.usable_cores()
    quota.write_text("max 100000\n", encoding="ascii")
    assert cpu.usable_cores() == free
    quota.write_text("50000 100000\n", encoding="ascii")
    assert cpu.usable_cores() == 1
