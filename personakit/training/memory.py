"""Estimates the memory of a stage before it starts.

Parameters and activations are counted in a forward pass of the real architecture on fake tensors (shapes
without data), which takes under a second for 8 B parameters. Temporary buffers of the backward pass and heap
fragmentation are calibrated on a CPU: `benchmarks/memory.py` compares estimate and peak. Estimates for CUDA
are not calibrated.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from personakit.config.training import LoraSettings, no_lora

Sharding = Literal["none", "fsdp", "zero3"]

# AdamW keeps two float32 moments per trained weight.
_OPTIMIZER_BYTES = 8
# NF4: half a byte per weight, a one-byte scale per 64 weights, and a float32 scale per 256 of those scales.
_FOUR_BIT_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
# Activations of the backward pass in addition to the saved ones, in layers, by device and gradient
# checkpointing: the gradients of the current layer. Recomputing layers fragments glibc's heap (the first
# value).
_WORKING_LAYERS = {("cpu", True): 4.0, ("cpu", False): 1.0, ("cuda", True): 2.0, ("cuda", False): 1.0}
# Heap fragmentation by the many small tensors of a LoRA adapter: factor on a CPU's activations.
_HEAP_UNDER_ADAPTER = 1.6


@dataclass(frozen=True, slots=True)
class Workload:
    """One forward and backward pass on one device, and how the model is stored."""

    rows: int
    """Sequences per pass: the per-device batch, or twice the number of preference pairs."""
    length: int
    """Maximum tokens of prompt and answer."""
    scored: int | None = None
    """Positions per row whose logits are computed; None: all."""
    lora: LoraSettings = field(default_factory=no_lora)
    dtype: str = "float32"
    """Dtype of the pass (autocast). Trained weights are float32, frozen ones on CUDA as the pass."""
    gradient_checkpointing: bool = False
    reference: bool = False
    """True if a second, frozen copy of the weights is in memory (DPO, GRPO with KL penalty; no LoRA)."""
    decoded_rows: int = 0
    """Completions generated at once by this process, of `length` tokens with their prompt."""
    prefix_factor: float = 1.0
    """Fraction of the activations that remains if shared prefixes are computed once (`shared_fraction`)."""
    device: str = "cpu"
    devices: int = 1
    sharding: Sharding = "none"


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes on one device; `total` is the larger of the two phases, training and generation."""

    parameters: int
    """Number of parameters of one copy of the model."""
    trained: int
    """Number of trained parameters."""
    weights: int
    gradients: int
    optimizer: int
    activations: int
    """Saved for the backward pass, and its temporary gradients."""
    logits: int
    cache: int
    """Keys and values during generation; for inference also the activations of one layer."""

    @property
    def total(self) -> int:
        """Estimated peak."""
        training = self.gradients + self.activations + self.logits
        return self.weights + self.optimizer + max(training, self.cache)


def estimate_memory(config: Any, workload: Workload) -> MemoryEstimate:
    """Estimate the memory of a causal language model with this transformers `config` under `workload`.

    Deterministic, allocates no memory, and needs no device.
    """
    work = workload
    frozen_bytes = 2 if work.lora.r and work.device == "cuda" and work.dtype == "bfloat16" else 4
    counted = _fake_pass(config, work, frozen_bytes)
    sharded = work.sharding != "none" and work.devices > 1
    pieces = work.devices if sharded else 1
    frozen = counted.parameters - counted.trained
    weights = counted.trained * 4 + frozen * frozen_bytes
    if work.lora.load_in_4bit:
        # A pass dequantizes the weights of one layer at a time.
        weights += counted.largest * (2 if work.dtype == "bfloat16" else 4)
        weights -= int(counted.linear * (frozen_bytes - _FOUR_BIT_BYTES))
    weights += counted.parameters * frozen_bytes if work.reference and not work.lora.r else 0
    gradients = counted.trained * 4
    if sharded:  # two gathered layers (the next one is prefetched) and the weights outside of the layers
        whole = (2 * counted.layer_parameters + counted.outer_parameters) * (
            2 if work.dtype == "bfloat16" else 4
        )
        weights = weights // pieces + whole
    elif work.devices > 1:
        gradients *= 2  # DDP's buckets
    layer = counted.activations / counted.layers
    heap = "cuda" if work.device == "cuda" else "cpu"  # MPS is not calibrated
    if work.gradient_checkpointing:
        boundaries = counted.layers * work.rows * work.length * counted.width * 4
        activations = boundaries + _WORKING_LAYERS[heap, True] * layer
    else:
        activations = counted.activations + _WORKING_LAYERS[heap, False] * layer
    if work.lora.r and work.device == "cpu":
        activations *= _HEAP_UNDER_ADAPTER
    return MemoryEstimate(
        parameters=counted.parameters,
        trained=counted.trained,
        weights=weights,
        gradients=gradients // pieces,
        optimizer=counted.trained * _OPTIMIZER_BYTES // pieces,
        activations=int(activations * work.prefix_factor),
        logits=2 * counted.logits,  # and their gradient
        cache=_cache_bytes(config, work),
    )


def estimate_inference(config: Any, *, tokens: int, device: str) -> MemoryEstimate:
    """Estimate the memory of inference with prompts of `tokens` tokens in total.

    It is the sum of the weights (bfloat16 on CUDA; on a CPU float32, or bfloat16 plain and packed, which
    takes as much), keys and values, and the activations of one layer: three times its widest output (gate, up
    and their product) and its hidden states.
    """
    dtype = "bfloat16" if device == "cuda" else "float32"
    work = Workload(rows=1, length=tokens, scored=1, dtype=dtype, device=device, decoded_rows=1)
    size = 2 if dtype == "bfloat16" else 4
    counted = _fake_pass(config, replace(work, length=1), size)
    return MemoryEstimate(
        parameters=counted.parameters,
        trained=0,
        weights=counted.parameters * size,
        gradients=0,
        optimizer=0,
        activations=0,
        logits=0,
        cache=_cache_bytes(config, work) + 3 * (counted.widest + counted.width) * size * tokens,
    )


def shared_fraction(prompt: int, answer: int, group: int) -> float:
    """Return computed/total tokens if `group` answers share a prompt, given the tokens of each."""
    return (prompt + group * answer) / (group * (prompt + answer))


def sharding_of_launch() -> Sharding:
    """Return how the launcher shards the model, from accelerate's environment variables."""
    import os

    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        return "fsdp"
    return "zero3" if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true" else "none"


@dataclass(frozen=True, slots=True)
class _ModelCounts:
    parameters: int
    trained: int
    layers: int
    layer_parameters: int
    outer_parameters: int
    linear: int
    """Weights that `load_in_4bit` quantizes, and (`largest`) those of the largest such layer."""
    largest: int
    widest: int
    """Outputs of the widest linear layer."""
    width: int
    activations: int
    logits: int


_counts_by_shape: dict[tuple[str, str, int], _ModelCounts] = {}


def _fake_pass(config: Any, work: Workload, frozen_bytes: int) -> _ModelCounts:
    """Count parameters and saved bytes of a forward pass; results are cached."""
    fields = ("rows", "length", "scored", "lora", "dtype")
    shape = repr([getattr(work, name) for name in fields])
    key = (config.to_json_string(use_diff=False), shape, frozen_bytes)
    if key not in _counts_by_shape:
        _counts_by_shape[key] = _count(config, work, frozen_bytes)
    return _counts_by_shape[key]


def _count(config: Any, work: Workload, frozen_bytes: int) -> _ModelCounts:
    """Run one forward pass on fake tensors."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.nn.functional import cross_entropy
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        frozen = torch.bfloat16 if frozen_bytes == 2 else torch.float32
        model = AutoModelForCausalLM.from_config(
            copy.deepcopy(config), dtype=frozen
        ).train()  # from_config changes it
        blocks = max((m for m in model.modules() if isinstance(m, torch.nn.ModuleList)), key=_size)
        layer_parameters = _size(blocks) // len(blocks)
        outer_parameters = _size(model) - _size(blocks)
        head, body, width = model.get_output_embeddings(), model.base_model, model.config.hidden_size
        # As transformers configures bitsandbytes: every linear layer except the head.
        linear = [m.weight for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
        if work.lora.r:
            model = _with_adapter(model, work)
        # Count before `to_empty`, which unties tied weights.
        parameters = _size(model)
        trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    # On a fake CPU: fake CUDA tensors need a CUDA build of torch, and on the meta device attention falls back
    # to an implementation that saves all scores.
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cpu"):
        model.to_empty(device="cpu")
        held = {weight.untyped_storage()._cdata for weight in model.parameters()}
        saved: dict[int, Any] = {}

        def keep(tensor: Any) -> Any:
            storage = tensor.untyped_storage()
            if storage._cdata not in held:
                saved[storage._cdata] = storage
            return tensor

        def saved_bytes() -> int:
            return sum(int(storage.nbytes()) for storage in saved.values())

        scored = min(work.scored or work.length, work.length)
        ids = torch.zeros(work.rows, work.length, dtype=torch.long)
        labels = torch.zeros(work.rows * scored, dtype=torch.long)
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=work.dtype == "bfloat16"),
        ):
            hidden = body(ids, use_cache=False).last_hidden_state
            activations = saved_bytes()
            logits = head(hidden[:, -scored:]).float()
            cross_entropy(logits.flatten(0, 1), labels)
        return _ModelCounts(
            parameters=parameters,
            trained=trained,
            layers=len(blocks),
            layer_parameters=layer_parameters,
            outer_parameters=outer_parameters,
            linear=sum(weight.numel() for weight in linear),
            largest=max((weight.numel() for weight in linear), default=0),
            widest=max((weight.shape[0] for weight in linear), default=0),
            width=width,
            activations=activations,
            logits=saved_bytes() - activations,
        )


def _with_adapter(model: Any, work: Workload) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=work.lora.r, target_modules=work.lora.target_modules, task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT uses deprecated names of transformers
        return get_peft_model(model, config)


def _size(module: Any) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _cache_bytes(config: Any, work: Workload) -> int:
    """Return the bytes of keys and values; an upper bound for sliding windows and shared layers."""
    if not work.decoded_rows:
        return 0
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    element = 2 if work.dtype == "bfloat16" else 4
    tokens = work.decoded_rows * work.length * work.prefix_factor
    return int(2 * text.num_hidden_layers * heads * size * element * tokens)
