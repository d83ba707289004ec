"""The number format of local inference: float32 or bfloat16, one per process and model.

On a CPU with bfloat16 units a short measurement decides, once per CPU and version of torch. bfloat16 is taken
only if no batch size is slower than in float32, so the format, and with it an answer, does not depend on the
batch. Models below `SMALL` weights stay in float32: they fit in the CPU's caches, and gain little.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from personakit.errors import UserError
from personakit.files import cache_folder, write_json
from personakit.models.cpu import bfloat16_units, cpu_name

#: Models with fewer weights compute in float32 on a CPU (our choice).
SMALL = 20_000_000
#: The environment variable that sets the format of local inference.
VARIABLE = "PERSONAKIT_DTYPE"
_FORMATS = ("auto", "float32", "bfloat16")
# Rows of a decoding step with one and with many prompts, and tokens of a prompt.
_ROWS = (1, 16, 128)
_WIDTH, _COPIES, _TURNS = 1024, 6, 5  # 6 matrices of 3 million weights exceed the caches of most CPUs
_LOWEST, _WORTHWHILE = 0.95, 1.2


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """The dtype of a local model's weights and activations, and why it was chosen."""

    dtype: str
    reason: str


def choose_format(device: str, weights: int | None = None, dtype: str = "auto") -> NumberFormat:
    """Return the format for a model with this number of weights (None: a large one).

    `dtype` "auto" is `$PERSONAKIT_DTYPE`, and without it the best one of the device. Raises `UserError` for
    an unknown format in the environment.
    """
    if dtype != "auto":
        return NumberFormat(dtype, "set by the caller")
    wanted = os.environ.get(VARIABLE) or "auto"
    if wanted not in _FORMATS:
        raise UserError(
            f'{VARIABLE} is "{wanted}", expected one of {", ".join(_FORMATS)}', hint=f"unset {VARIABLE}"
        )
    if wanted != "auto":
        return NumberFormat(wanted, f"set by {VARIABLE}")
    if device.startswith("cuda"):
        return NumberFormat("bfloat16", "the default on CUDA")
    if not device.startswith("cpu"):
        return NumberFormat("float32", f"the default on {device}")
    units = ", ".join(bfloat16_units())
    if not units:
        return NumberFormat("float32", "this CPU has no bfloat16 units (avx512_bf16, amx_bf16)")
    if weights is not None and weights < SMALL:
        return NumberFormat("float32", f"the model has fewer than {SMALL / 1e6:.0f} million weights")
    ratios = _speed_ratios()
    if not ratios:
        return NumberFormat("float32", f"torch cannot use this CPU's bfloat16 units ({units})")
    measured = ", ".join(f"{ratio:.1f}x at {rows} rows" for rows, ratio in ratios.items())
    wins = min(ratios.values()) >= _LOWEST and max(ratios.values()) >= _WORTHWHILE
    return NumberFormat(
        "bfloat16" if wins else "float32", f"measured on this CPU ({units}), bfloat16 to float32: {measured}"
    )


def count_weights(config: Any) -> int:
    """Return the number of weights of the causal language model with this configuration."""
    import copy

    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(copy.deepcopy(config))
    return sum(weight.numel() for weight in model.parameters())


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _speed_ratios() -> dict[int, float]:
    """Return the time in float32 divided by that in bfloat16, by number of rows; empty if torch cannot.

    Measured once per CPU and version of torch, and kept in the cache folder.
    """
    import torch

    key = f"{cpu_name()}\0{torch.__version__}"
    kept = cache_folder() / "number_format" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return {int(rows): float(ratio) for rows, ratio in json.loads(kept.read_text("utf-8")).items()}
    ratios = measure()
    with contextlib.suppress(OSError):  # a cache folder that cannot be written: measured again next time
        write_json(kept, ratios)
    return ratios


def measure() -> dict[int, float]:
    """Measure linear layers in both formats, in alternating turns; about a second.

    The shortest time of each counts, in CPU seconds of one thread, so that other processes disturb little.
    """
    import torch

    from personakit.models.packed_linear import PackedLinear, pack_linears

    def layers(dtype: torch.dtype) -> torch.nn.ModuleList:
        made = torch.nn.ModuleList(
            torch.nn.Linear(_WIDTH, 3 * _WIDTH, bias=False, dtype=dtype, device="meta")
            for _ in range(_COPIES)
        ).to_empty(device="cpu")
        for weight in made.parameters():
            torch.nn.init.constant_(weight, 0.01)
        return made

    plain, low = layers(torch.float32), layers(torch.bfloat16)
    pack_linears(low)
    if not isinstance(low[0], PackedLinear):
        return {}
    ratios = {}
    with torch.inference_mode(), _one_thread():
        for rows in _ROWS:
            best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
            for turn in range(_TURNS + 1):
                for dtype, module in ((torch.float32, plain), (torch.bfloat16, low)):
                    states = torch.full((1, rows, _WIDTH), 0.01, dtype=dtype)
                    began = time.thread_time()
                    for layer in module:
                        layer(states)
                    if turn:  # the first one prepares kernels
                        best[dtype] = min(best[dtype], time.thread_time() - began)
            ratios[rows] = round(best[torch.float32] / best[torch.bfloat16], 2)
    return ratios
