"""What a stage will need before it starts, against what the device has.

Parameters are counted, and activations summed, on a model of fake tensors: the real architecture's own
forward pass runs, with shapes and no numbers, in under a second for 8 B parameters. What a fake pass cannot
show (what a backward pass holds for a moment, what malloc leaves in pieces) is calibrated on a CPU:
`benchmarks/memory.py` prints estimate against peak. On CUDA the same sums stand uncalibrated.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from personakit.config.training import LoraSettings, all_weights

Sharding = Literal["none", "fsdp", "zero3"]

# AdamW keeps two float32 moments of each trained weight.
_OPTIMIZER_BYTES = 8
# NF4: half a byte a weight, a scale of one byte for 64 of them, and a float32 scale for 256 of those.
_FOUR_BIT_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
# Layers' worth of activations that the backward pass holds beside what was saved: the gradients of the layer
# it is in. Where a layer is computed again, glibc's heap is left in pieces by it (the first number).
_WORKING_LAYERS = {("cpu", True): 4.0, ("cpu", False): 1.0, ("cuda", True): 2.0, ("cuda", False): 1.0}
# As it is by an adapter's many small tensors: a CPU's activations under LoRA take so many times their size.
_HEAP_UNDER_ADAPTER = 1.6


@dataclass(frozen=True, slots=True)
class Workload:
    """What one device does in one forward and backward pass, and how the model is held meanwhile."""

    rows: int
    """Sequences in one pass: the micro batch; twice the pairs for preferences."""
    length: int
    """The longest sequence: tokens of prompt and answer."""
    scored: int | None = None
    """Positions of a row whose logits are computed; None: all of them."""
    lora: LoraSettings = field(default_factory=all_weights)
    dtype: str = "float32"
    """Of the pass (autocast); weights that train are float32, those under an adapter on CUDA as the pass."""
    gradient_checkpointing: bool = False
    reference: bool = False
    """Whether a second, frozen copy of the weights is held (DPO, GRPO with a KL term; not with LoRA)."""
    decoded_rows: int = 0
    """Completions written at once by this process, of `length` tokens with their prompt; 0: none are."""
    prefix_factor: float = 1.0
    """Share of the activations that is left when shared prefixes are computed once: `shared_fraction`."""
    device: str = "cpu"
    devices: int = 1
    sharding: Sharding = "none"


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes on one device. `total` is the larger of the two phases, which do not overlap."""

    parameters: int
    """Count, of one copy of the model."""
    trained: int
    """Count of those that train."""
    weights: int
    gradients: int
    optimizer: int
    activations: int
    """Saved for the backward pass, and held by it."""
    logits: int
    cache: int
    """Keys and values while completions are written; where nothing trains, the layer at work with them."""

    @property
    def total(self) -> int:
        """The peak."""
        training = self.gradients + self.activations + self.logits
        return self.weights + self.optimizer + max(training, self.cache)


def estimate_memory(config: Any, workload: Workload) -> MemoryEstimate:
    """Estimate a causal language model of this transformers `config` under `workload`.

    Deterministic, allocates nothing, asks no device.
    """
    work = workload
    frozen_bytes = 2 if work.lora.r and work.device == "cuda" and work.dtype == "bfloat16" else 4
    counted = _fake_pass(config, work, frozen_bytes)
    sharded = work.sharding != "none" and work.devices > 1
    pieces = work.devices if sharded else 1
    frozen = counted.parameters - counted.trained
    weights = counted.trained * 4 + frozen * frozen_bytes
    if work.lora.load_in_4bit:
        # A pass multiplies by one layer at a time, whose weights it writes out for the moment.
        weights += counted.largest * (2 if work.dtype == "bfloat16" else 4)
        weights -= int(counted.linear * (frozen_bytes - _FOUR_BIT_BYTES))
    weights += counted.parameters * frozen_bytes if work.reference and not work.lora.r else 0
    gradients = counted.trained * 4
    if sharded:  # two layers whole (the next is fetched while one computes), and what stands outside of them
        whole = (2 * counted.layer_parameters + counted.outer_parameters) * (
            2 if work.dtype == "bfloat16" else 4
        )
        weights = weights // pieces + whole
    elif work.devices > 1:
        gradients *= 2  # DDP's buckets
    layer = counted.activations / counted.layers
    if work.gradient_checkpointing:
        boundaries = counted.layers * work.rows * work.length * counted.width * 4
        activations = boundaries + _WORKING_LAYERS[work.device, True] * layer
    else:
        activations = counted.activations + _WORKING_LAYERS[work.device, False] * layer
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


def estimate_answering(config: Any, *, tokens: int, device: str) -> MemoryEstimate:
    """Estimate a model that answers prompts of so many tokens at once and does not train.

    Held are the weights, in bfloat16 on CUDA and float32 on a CPU, keys and values, and what one layer makes
    of the prompts: its widest part three times (gate, up and their product), its states as often.
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
    """Return needed/dense tokens where `group` answers of so many tokens share a prompt of so many."""
    return (prompt + group * answer) / (group * (prompt + answer))


def available_memory(device: str) -> int:
    """Bytes free on this process's device: CUDA's free memory, or RAM (a container's limit included)."""
    if device == "cuda":
        import torch

        # What torch has taken and does not use counts as free: the next stage is given it.
        unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(torch.cuda.mem_get_info()[0]) + unused
    import psutil

    free = int(psutil.virtual_memory().available)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()).isdigit():
        free = min(free, int(text) - int(used.read_text()))
    return max(free, 0)


def in_gb(count: float) -> str:
    """Bytes as GB (10^9) with two digits that count."""
    gigabytes = count / 1e9
    return f"{gigabytes:.1f} GB" if gigabytes >= 1 else f"{gigabytes:.2f} GB"


def sharding_of_launch() -> Sharding:
    """How the launcher of this process cuts the model: read off accelerate's environment."""
    import os

    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        return "fsdp"
    return "zero3" if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true" else "none"


@dataclass(frozen=True, slots=True)
class _Counted:
    parameters: int
    trained: int
    layers: int
    layer_parameters: int
    outer_parameters: int
    linear: int
    """Weights that `load_in_4bit` would hold in four bits, and those of the largest such layer."""
    largest: int
    widest: int
    """Outputs of the widest such layer."""
    width: int
    activations: int
    logits: int


_counted: dict[tuple[str, str, int], _Counted] = {}


def _fake_pass(config: Any, work: Workload, frozen_bytes: int) -> _Counted:
    """Return what one forward pass saves for the backward pass, in bytes; each shape is counted once."""
    fields = ("rows", "length", "scored", "lora", "dtype")
    shape = repr([getattr(work, name) for name in fields])
    key = (config.to_json_string(use_diff=False), shape, frozen_bytes)
    if key not in _counted:
        _counted[key] = _count(config, work, frozen_bytes)
    return _counted[key]


def _count(config: Any, work: Workload, frozen_bytes: int) -> _Counted:
    """One forward pass without numbers."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.nn.functional import cross_entropy
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        frozen = torch.bfloat16 if frozen_bytes == 2 else torch.float32
        model = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=frozen).train()  # it sets dtype
        blocks = max((m for m in model.modules() if isinstance(m, torch.nn.ModuleList)), key=_size)
        layer_parameters = _size(blocks) // len(blocks)
        outer_parameters = _size(model) - _size(blocks)
        head, body, width = model.get_output_embeddings(), model.base_model, model.config.hidden_size
        # As bitsandbytes is told by transformers: every linear layer but the head.
        linear = [m.weight for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
        if work.lora.r:
            model = _with_adapter(model, work)
        # Counted before `to_empty`, which unties what is tied.
        parameters = _size(model)
        trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    # Always as if on a CPU: a fake CUDA tensor needs a torch that is built for CUDA, and on the meta device
    # attention falls back to a form that saves every score.
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
        return _Counted(
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
        warnings.simplefilter("ignore", FutureWarning)  # PEFT's use of old names in transformers
        return get_peft_model(model, config)


def _size(module: Any) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _cache_bytes(config: Any, work: Workload) -> int:
    """Keys and values of every layer; an upper bound where layers slide or share them."""
    if not work.decoded_rows:
        return 0
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    element = 2 if work.dtype == "bfloat16" else 4
    tokens = work.decoded_rows * work.length * work.prefix_factor
    return int(2 * text.num_hidden_layers * heads * size * element * tokens)
