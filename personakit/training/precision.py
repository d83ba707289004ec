"""Decides device and dtype of a run, with the reason."""

from __future__ import annotations

import os
from dataclasses import dataclass

from personakit.errors import UserError
from personakit.models.cpu import bfloat16_units
from personakit.models.devices import default_device

_DTYPES = ("auto", "bfloat16", "float32")


@dataclass(frozen=True, slots=True)
class Precision:
    """Device ("cpu", "cuda" or "mps"), dtype of the pass (autocast), and why they were chosen.

    Trained weights and optimizer state are always float32.
    """

    device: str
    dtype: str
    reason: str

    @property
    def bf16(self) -> bool:
        """True if the pass runs under bfloat16 autocast."""
        return self.dtype == "bfloat16"


def decide_precision(device: str = "auto", dtype: str = "auto") -> Precision:
    """Choose the device ("cuda", "mps", "cpu") and the dtype ("bfloat16", "float32"); explicit arguments win.

    Under `accelerate launch` the launcher's mixed_precision decides the dtype, because the trainer follows
    it. Raises `UserError` for an unavailable device, an unknown dtype, or a contradicting launcher.
    """
    import torch

    if dtype not in _DTYPES:
        raise UserError(f'dtype is "{dtype}", expected one of {", ".join(_DTYPES)}', hint="leave it on auto")
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise UserError(f'device is "{device}", expected auto, cpu, cuda or mps', hint="leave it on auto")
    if device == "mps" and not torch.backends.mps.is_available():
        raise UserError("device is mps, but torch finds no Apple GPU", hint="use device=auto or cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device is cuda, but torch finds no CUDA device", hint="use device=auto or cpu")
    if device == "auto":
        device = default_device()
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launched not in ("no", "bf16") or (launched == "bf16" and dtype == "float32"):
        raise UserError(
            f"accelerate launches with mixed_precision {launched}, but dtype is {dtype}",
            hint="remove mixed_precision from accelerate's config file: personakit chooses the dtype",
        )
    if launched == "bf16":
        return Precision(device, "bfloat16", "set by accelerate's mixed_precision")
    if dtype != "auto":
        return Precision(device, dtype, "set by the configuration")
    if device == "cuda":
        if torch.cuda.is_bf16_supported():
            return Precision(device, "bfloat16", f"{torch.cuda.get_device_name()} computes in bfloat16")
        return Precision(device, "float32", f"{torch.cuda.get_device_name()} has no bfloat16 units")
    if device == "mps":
        return Precision(device, "float32", "Apple's MPS, on which personakit is untested")
    units = bfloat16_units()
    if units:
        return Precision(device, "bfloat16", f"this CPU computes in bfloat16 ({', '.join(units)})")
    return Precision(device, "float32", "this CPU has no bfloat16 units (avx512_bf16, amx_bf16)")
