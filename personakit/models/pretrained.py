"""Loads weights, tokenizer and adapter of a local model from a folder or the hub."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from personakit.errors import UserError
from personakit.models.adapters import load_adapter
from personakit.models.cpu import bfloat16_units
from personakit.models.devices import default_device
from personakit.models.environment import (
    hide_loading_bars,
    import_large,
    limit_threads,
    silence_libraries,
)
from personakit.models.model_files import (
    ModelFiles,
    cannot_load,
    load_config,
    load_tokenizer,
    locate,
)
from personakit.models.number_format import choose_format, count_weights
from personakit.models.turns import end_tokens
from personakit.models.weight_names import check_weights
from personakit.steps import step


def load_pretrained(
    name: str,
    *,
    adapter: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    quantization: Any = None,
) -> tuple[Any, Any, list[Path], str | None]:
    """Return (model, tokenizer, folders it was loaded from, "name@commit" if from the hub).

    `dtype` "auto" is for inference: see `number_format.choose_format`. `quantization` is a
    transformers quantization configuration, applied on `device`. Raises `UserError` like `LocalModel.load`.
    """
    with step(f"loading {name}"):
        return _load(name, adapter=adapter, device=device, dtype=dtype, quantization=quantization)


def _load(
    name: str, *, adapter: Path | None, device: str, dtype: str, quantization: Any
) -> tuple[Any, Any, list[Path], str | None]:
    silence_libraries()
    import_large("torch", "transformers", "transformers.modeling_utils")
    import torch
    from transformers import AutoModelForCausalLM

    hide_loading_bars()
    limit_threads()
    from personakit.models.packed_linear import pack_linears  # a module that imports torch

    if device == "auto":
        device = default_device()
    files = locate(name, adapter)
    name, adapter, folders = files.source, files.adapter, list(files.folders)
    is_folder = Path(name).is_dir()
    config = load_config(name, offline=files.offline)  # its errors name the file
    try:
        chosen = dtype if dtype != "auto" else _inference_format(config, device)
        model, report = AutoModelForCausalLM.from_pretrained(
            name,
            dtype=torch.bfloat16 if chosen == "bfloat16" else torch.float32,
            local_files_only=files.offline,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # `check_weights` names the file and the weights
            **({"quantization_config": quantization, "device_map": {"": device}} if quantization else {}),
        )
    except (MemoryError, torch.OutOfMemoryError, UserError):
        raise
    except Exception as error:
        raise cannot_load(name, error) from error
    check_weights(name, model, report)
    tokenizer = load_tokenizer(tokenizer_folder(files), offline=files.offline)
    check_vocabulary(name, model, tokenizer)
    _declare_ends(model, tokenizer)
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        raise UserError(
            f'model "{name}" ({type(model).__name__}) is not a plain causal language model of transformers',
            hint="use a decoder-only model such as Llama, Qwen, Mistral or Gemma",
        )
    revision = None if is_folder else f"{name}@{getattr(model.config, '_commit_hash', None)}"
    if dtype == "auto" and chosen == "bfloat16" and device.startswith("cpu"):
        pack_linears(model)
    if adapter is not None:
        model = load_adapter(model, adapter)
    return model.to(device), tokenizer, folders, revision


def tokenizer_folder(files: ModelFiles) -> str:
    """Return the folder, or hub name, of the tokenizer: the adapter's if that has one."""
    own = files.adapter is not None and (files.adapter / "tokenizer_config.json").is_file()
    return str(files.adapter) if own else files.source


def _inference_format(config: Any, device: str) -> str:
    """Return the dtype for inference. On a CPU with bfloat16 units it depends on the number of weights."""
    weights = count_weights(config) if device.startswith("cpu") and bfloat16_units() else None
    return choose_format(device, weights).dtype


def _declare_ends(model: Any, tokenizer: Any) -> None:
    """Let generation stop at the end of the assistant's turn, also in TRL's trainers and once saved."""
    ends = end_tokens(model, tokenizer)
    declared = getattr(model.generation_config, "eos_token_id", None)
    if ends and set(ends) != set(declared if isinstance(declared, list) else [declared]):
        model.generation_config.eos_token_id = ends if len(ends) > 1 else ends[0]


def check_vocabulary(source: str, model: Any, tokenizer: Any) -> None:
    """Raise `UserError` if the tokenizer has tokens that the model has no embedding for.

    Special tokens may exceed it: Gemma 3's text models share a tokenizer with those that read images.
    """
    rows = len(model.get_input_embeddings().weight)
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    beyond = {
        index: token
        for token, index in tokenizer.get_vocab().items()
        if index >= rows and index not in special
    }
    if beyond:
        first = min(beyond)
        raise UserError(
            f'the tokenizer of model "{source}" has {len(beyond)} tokens beyond the embedding '
            f'of {rows} rows: "{beyond[first]}" is {first}',
            hint="use the tokenizer that was saved with these weights, or resize the model's embedding",
        )
