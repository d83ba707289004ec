"""Finds a plain Llama model in a folder, and a LoRA adapter on it, for `llama.Llama`.

Only folders are taken in which every entry and every weight is understood. For all others `find_llama`
returns None: transformers and PEFT load those, and their errors say what is wrong.
"""

from __future__ import annotations

import functools
import json
import math
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from personakit.models.llama import Llama, Shape

#: Larger models (our choice) take longer to answer than transformers to import.
LARGEST = 1_000_000_000
_WEIGHTS, _ADAPTER_WEIGHTS = "model.safetensors", "adapter_model.safetensors"
_FLOATS = ("F32", "F16", "BF16")
_CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu"}
# Entries without an effect on a greedy answer, or read elsewhere.
_CONFIG_IGNORED = {
    *("_name_or_path", "_model_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "attention_dropout"),
    *("initializer_range", "pretraining_tp", "max_position_embeddings"),
}
_LORA = {"peft_type": "LORA", "bias": "none"}
_LORA_IGNORED = {
    *("base_model_name_or_path", "peft_version", "revision", "task_type", "inference_mode"),
    *("init_lora_weights", "lora_dropout", "megatron_core", "qalora_group_size"),
}
_LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

_Sizes = dict[str, tuple[int, ...]]
#: Models in use, so that a base model and an adapter on it share their weights.
_in_use: weakref.WeakValueDictionary[tuple[object, ...], Llama] = weakref.WeakValueDictionary()


@dataclass(frozen=True)
class Adapter:
    """A folder with LoRA, and the factor of its product."""

    folder: Path
    scaling: float


@dataclass(frozen=True)
class LlamaFolder:
    """A Llama model whose weights are read when they are needed first."""

    folder: Path
    adapter: Adapter | None
    shape: Shape
    dtype: str
    context_window: int
    declared_ends: int | list[int] | None
    """The end tokens that the model's files declare."""

    @functools.cached_property
    def model(self) -> Llama:
        """The model, on the CPU. Raises `UserError` if its files cannot be read any more."""
        from safetensors import SafetensorError

        from personakit.models.model_files import cannot_load

        try:
            plain = _read_weights(self.folder / _WEIGHTS, self.shape, self.dtype)
            return plain if self.adapter is None else _with_adapter(plain, self.adapter)
        except (OSError, SafetensorError) as error:  # the files were changed since `find_llama`
            raise cannot_load(str(self.folder), error) from error


def find_llama(folder: Path, adapter: Path | None = None) -> LlamaFolder | None:
    """Return the model in `folder`, in the number format that `number_format` chooses for this CPU.

    None if there is anything that this module does not read. Raises `UserError` as `choose_format` does.
    """
    from safetensors import SafetensorError

    from personakit.models.number_format import choose_format

    try:
        config = _object(folder / "config.json")
        shape = _shape(dict(config))
        if shape is None or [file.name for file in folder.glob("*.safetensors")] != [_WEIGHTS]:
            return None
        sizes = _sizes(shape)
        count = sum(map(math.prod, sizes.values()))
        if count > LARGEST or _stored(folder / _WEIGHTS) != sizes:
            return None
        lora = None if adapter is None else _lora(adapter, sizes)
        if adapter is not None and lora is None:
            return None
        generation = folder / "generation_config.json"
        ends = (_object(generation) if generation.is_file() else config).get("eos_token_id")
        window = int(config["max_position_embeddings"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, SafetensorError):
        return None
    return LlamaFolder(folder, lora, shape, choose_format("cpu", count).dtype, window, ends)


def _object(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise TypeError(path)
    return found


def _shape(config: dict[str, Any]) -> Shape | None:
    """Return the sizes; None if the configuration has another entry that changes the computation."""
    from personakit.models.llama import Shape

    width, heads = int(config.pop("hidden_size")), int(config.pop("num_attention_heads"))
    rope = dict(config.pop("rope_parameters", None) or {"rope_theta": config.pop("rope_theta")})
    theta = float(rope.pop("rope_theta"))
    if rope.pop("rope_type", "default") != "default" or any(rope.values()):
        return None
    shape = Shape(
        hidden_size=width,
        intermediate_size=int(config.pop("intermediate_size")),
        num_hidden_layers=int(config.pop("num_hidden_layers")),
        num_attention_heads=heads,
        num_key_value_heads=int(config.pop("num_key_value_heads")),
        head_dim=int(config.pop("head_dim", None) or width // heads),
        vocab_size=int(config.pop("vocab_size")),
        rms_norm_eps=float(config.pop("rms_norm_eps")),
        rope_theta=theta,
        tie_word_embeddings=bool(config.pop("tie_word_embeddings")),
    )
    return shape if _is(config, _CONFIG, _CONFIG_IGNORED) else None


def _is(entries: Mapping[str, Any], wanted: Mapping[str, Any], ignored: set[str]) -> bool:
    """Return whether `entries` has what is `wanted`, and otherwise only what is ignored or switched off."""
    return all(entries.get(name) == value for name, value in wanted.items()) and not any(
        value for name, value in entries.items() if name not in wanted and name not in ignored
    )


@functools.cache
def _sizes(shape: Shape) -> _Sizes:
    """Return the size of each weight in the file, by name."""
    from personakit.models.llama import empty_llama

    sizes = {name: tuple(weight.shape) for name, weight in empty_llama(shape).named_parameters()}
    if shape.tie_word_embeddings:
        del sizes["lm_head.weight"]
    return sizes


def _stored(file: Path) -> _Sizes:
    """Return the sizes of a file's weights. Raises `TypeError` for weights that are no plain floats."""
    from safetensors import safe_open

    with safe_open(file, "pt") as stored:
        slices = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
        if any(each.get_dtype() not in _FLOATS for each in slices.values()):
            raise TypeError(file)
        return {name: tuple(each.get_shape()) for name, each in slices.items()}


def _lora(folder: Path, sizes: _Sizes) -> Adapter | None:
    """Return the adapter in `folder`; None unless it is plain LoRA on the layers' linear modules."""
    config = _object(folder / "adapter_config.json")
    rank, alpha, targets = int(config.pop("r")), float(config.pop("lora_alpha")), config.pop("target_modules")
    if not isinstance(targets, list) or not set(targets) <= _LINEAR:
        return None
    wanted: _Sizes = {}
    for name, size in sizes.items():
        module = name.removesuffix(".weight")
        if module.rpartition(".")[2] in targets:
            wanted |= {_lora_name(module, "A"): (rank, size[1]), _lora_name(module, "B"): (size[0], rank)}
    if not _is(config, _LORA, _LORA_IGNORED) or _stored(folder / _ADAPTER_WEIGHTS) != wanted:
        return None
    return Adapter(folder, alpha / rank)


def _lora_name(module: str, part: str) -> str:
    return f"base_model.model.{module}.lora_{part}.weight"


def _read_weights(file: Path, shape: Shape, dtype: str) -> Llama:
    import torch
    from safetensors import safe_open

    from personakit.models.llama import empty_llama
    from personakit.models.packed_linear import pack_linears

    state = file.stat()
    key = (file.resolve(), state.st_size, state.st_mtime_ns, shape, dtype)
    model = _in_use.get(key)
    if model is None:
        model = empty_llama(shape)
        with safe_open(file, "pt") as stored:
            for name in stored.keys():  # noqa: SIM118 - no mapping
                # One at a time, so that each takes the memory that the one before has released.
                module = model.get_submodule(name.removesuffix(".weight"))
                weight = stored.get_tensor(name).to(getattr(torch, dtype))
                module.weight = torch.nn.Parameter(weight, requires_grad=False)
                pack_linears(module, release=True)
        if shape.tie_word_embeddings:
            model.lm_head.weight = model.model.embed_tokens.weight
            pack_linears(model.lm_head, release=True)
        _in_use[key] = model
    return model


def _with_adapter(plain: Llama, adapter: Adapter) -> Llama:
    from safetensors.torch import load_file

    from personakit.models.llama import adapted

    stored = load_file(adapter.folder / _ADAPTER_WEIGHTS)
    prefix, suffix = _lora_name("|", "A").split("|")
    names = [name.removeprefix(prefix).removesuffix(suffix) for name in stored if name.endswith(suffix)]
    pairs = {name: (stored[_lora_name(name, "A")], stored[_lora_name(name, "B")]) for name in names}
    return adapted(plain, pairs, adapter.scaling)
