"""QLoRA (arXiv 2305.14314): the weights under an adapter held in four bits, by bitsandbytes.

What is quantised are the linear layers but the head: to NF4, the scales quantised once more. They are made
from the ordinary weights while these are read, on the device that trains; a pass multiplies in the number
format of every other stage. The weights outside (embedding, head, norms) stay in that format: PEFT's
`prepare_model_for_kbit_training` would hold them in float32, which under autocast costs memory and changes
no product; what else it does (freezing, gradients for checkpointed inputs) PEFT and TRL do by themselves.

Training only: `models.local` puts a finished adapter on the base in its usual precision.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from personakit.errors import UserError
from personakit.models.local import load_pretrained
from personakit.training.memory import sharding_of_launch
from personakit.training.precision import Precision


def load_in_four_bit(
    source: str, precision: Precision, dtype: str
) -> tuple[Any, Any, list[Path], str | None]:
    """As `load_pretrained`, with the linear layers in four bits; `dtype` is that of the others.

    Raises `UserError` where bitsandbytes is not installed, and under a launcher that cuts weights in pieces.
    """
    require_four_bit()
    import torch
    from transformers import BitsAndBytesConfig

    place = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if precision.device == "cuda" else "cpu"
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if precision.bf16 else torch.float32,
    )
    loaded = load_pretrained(source, device=place, dtype=dtype, quantization=quantization)
    if precision.device == "cpu":
        _keep_layout(loaded[0])
    return loaded


def require_four_bit() -> None:
    """Raise `UserError` where weights in four bits cannot be trained on: nothing is loaded for it."""
    from transformers.utils.import_utils import is_bitsandbytes_available

    if not is_bitsandbytes_available():
        raise UserError(
            "lora.load_in_4bit is true, and bitsandbytes is not installed (or is too old)",
            hint='pip install "personakit[four-bit]", or set lora.load_in_4bit=false',
        )
    if sharding_of_launch() != "none":
        raise UserError(
            "lora.load_in_4bit is true, and the launcher cuts the weights into pieces",
            hint="launch with configs/accelerate/ddp.yaml, or set lora.load_in_4bit=false",
        )


@contextlib.contextmanager
def adapter_in_float32(network: Any) -> Iterator[None]:
    """Keep what trains of a network in four bits as it is while a TRL trainer is built around it.

    TRL casts the adapter of such a network to bfloat16, for good: the weights of the stage before would be
    rounded, and the small steps of reinforcement learning lost (at a weight of 0.02 bfloat16 has no step
    below 1e-4). Weights that train are float32 in every stage of ours.
    """
    held = {id(weight): weight.data for weight in network.parameters() if weight.requires_grad}
    yield
    if getattr(network, "is_loaded_in_4bit", False):
        # A new adapter was put inside the network meanwhile.
        for weight in network.parameters():
            if weight.requires_grad:
                weight.data = held.get(id(weight), weight.data).float()


def _keep_layout(network: Any) -> None:
    """Let no layer change its weights' layout at its first pass without gradients.

    On CPUs with AVX512-BF16 bitsandbytes does, to be faster; later passes with gradients then have none
    through that layer, and say nothing of it (bitsandbytes 0.50: `matmul_4bit`, `packing_format_for_cpu`).
    """
    from bitsandbytes.nn import Linear4bit

    for module in network.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
