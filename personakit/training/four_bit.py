"""QLoRA (arXiv 2305.14314): frozen weights in four bits (bitsandbytes) under a LoRA adapter.

All linear layers except the head are quantized to NF4, with double quantization, while the weights are loaded
on the training device. Compute uses the same dtype as in other stages. Embedding, head and norms keep that
dtype too: PEFT's `prepare_model_for_kbit_training` would cast them to float32, which costs memory and under
autocast changes no product; PEFT and TRL already do the rest of it (freezing, gradients of checkpointed
inputs).

For training only: `models.local` loads a finished adapter on the base in its usual precision.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from personakit.errors import UserError
from personakit.models.pretrained import load_pretrained
from personakit.training.memory import sharding_of_launch
from personakit.training.precision import Precision


def load_in_four_bit(
    source: str, precision: Precision, dtype: str
) -> tuple[Any, Any, list[Path], str | None]:
    """Load like `load_pretrained`, with linear layers in four bits and all other weights in `dtype`.

    Raises `UserError` if bitsandbytes is not installed or the launcher shards weights.
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
    """Raise `UserError` if 4-bit training is not possible here, without loading a model."""
    from transformers.utils.import_utils import is_bitsandbytes_available

    if not is_bitsandbytes_available():
        raise UserError(
            "lora.load_in_4bit is true, and bitsandbytes is not installed (or is too old)",
            hint='pip install "personakit[four-bit]", or set lora.load_in_4bit=false',
        )
    if sharding_of_launch() != "none":
        raise UserError(
            "lora.load_in_4bit is true, and the launcher shards the weights",
            hint="launch with configs/accelerate/ddp.yaml, or set lora.load_in_4bit=false",
        )


@contextlib.contextmanager
def adapter_in_float32(network: Any) -> Iterator[None]:
    """Keep the trained weights of a 4-bit network in float32 while a TRL trainer is created in the block.

    TRL casts the adapter of such a network to bfloat16 permanently. This would round the weights of the
    previous stage and lose the small updates of reinforcement learning (near 0.02, bfloat16 has no step below
    1e-4).
    """
    held = {id(weight): weight.data for weight in network.parameters() if weight.requires_grad}
    yield
    if getattr(network, "is_loaded_in_4bit", False):
        # The trainer may have added a new adapter to the network.
        for weight in network.parameters():
            if weight.requires_grad:
                weight.data = held.get(id(weight), weight.data).float()


def _keep_layout(network: Any) -> None:
    """Prevent layers from changing their weight layout in the first pass without gradients.

    bitsandbytes does so on CPUs with AVX512-BF16, for speed; later passes then silently have no gradient
    through the layer (bitsandbytes 0.50: `matmul_4bit`, `packing_format_for_cpu`).
    """
    from bitsandbytes.nn import Linear4bit

    for module in network.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
