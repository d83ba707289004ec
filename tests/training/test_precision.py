from __future__ import annotations

import pytest

from personakit.errors import UserError
from personakit.models import cpu
from personakit.training.allocator import allocator_environment
from personakit.training.precision import decide_precision


@pytest.mark.parametrize(
    ("flags", "dtype", "reason"),
    [
        ({"avx2", "avx512_bf16"}, "bfloat16", "avx512_bf16"),
        ({"amx_bf16"}, "bfloat16", "amx_bf16"),
        ({"avx2", "avx512f"}, "float32", "no bfloat16 units"),
        (set(), "float32", "no bfloat16 units"),
    ],
)
def test_cpu_dtype_depends_on_its_instruction_sets(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], dtype: str, reason: str
) -> None:
    monkeypatch.setattr(cpu, "_entry", lambda name: flags)
    decided = decide_precision("cpu")
    assert (decided.device, decided.dtype) == ("cpu", dtype)
    assert reason in decided.reason


@pytest.mark.parametrize(
    ("limit", "units"),
    [("avx2", []), ("AVX512_CORE_BF16", ["avx512_bf16"]), ("ALL", ["amx_bf16", "avx512_bf16"])],
)
def test_limits_of_onednn_are_respected(
    monkeypatch: pytest.MonkeyPatch, limit: str, units: list[str]
) -> None:
    monkeypatch.setattr(cpu, "_entry", lambda name: {"avx2", "avx512_bf16", "amx_bf16"})
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert cpu.bfloat16_units() == units


def test_explicit_device_and_dtype_win() -> None:
    decided = decide_precision("cpu", "float32")
    assert not decided.bf16
    assert "configuration" in decided.reason


def test_unavailable_device_or_dtype_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="finds no CUDA device"):
        decide_precision("cuda")
    with pytest.raises(UserError, match='dtype is "fp8"'):
        decide_precision("cpu", "fp8")
    with pytest.raises(UserError, match='device is "tpu"'):
        decide_precision("tpu")


def test_mps_is_used_where_torch_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="finds no Apple GPU"):
        decide_precision("mps")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    decided = decide_precision()
    assert (decided.device, decided.dtype) == ("mps", "float32")
    assert "untested" in decided.reason


def test_allocator_environment_keeps_user_choices() -> None:
    tuned = allocator_environment({})
    assert all(name.startswith("MALLOC_") and int(value) > 0 for name, value in tuned.items())
    assert allocator_environment(tuned) == {}
    name = next(iter(tuned))
    assert name not in allocator_environment({name: "1"})
    assert allocator_environment({"LD_PRELOAD": "libjemalloc.so"}) == {}


def test_launcher_precision_is_used_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert decide_precision("cpu", "float32").dtype == "float32"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert decide_precision("cpu").reason == "set by accelerate's mixed_precision"
    with pytest.raises(UserError, match="mixed_precision bf16, but dtype is float32"):
        decide_precision("cpu", "float32")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(UserError, match="mixed_precision fp16"):
        decide_precision("cpu")
