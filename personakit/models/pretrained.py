"""Loads weights, tokenizer and adapter of a local model from a folder or the hub."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from personakit.errors import UserError
from personakit.models.environment import hide_loading_bars, silence_libraries, suppress_peft_warnings
from personakit.models.model_files import locate, model_not_found
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

    `dtype` "auto" is bfloat16 on CUDA, else float32. `quantization` is a transformers quantization
    configuration, applied on `device`. Raises `UserError` like `LocalModel.load`.
    """
    silence_libraries()
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    hide_loading_bars()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch_dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(dtype) or (
        torch.bfloat16 if device.startswith("cuda") else torch.float32
    )
    files = locate(name, adapter)
    name, adapter, folders = files.source, files.adapter, list(files.folders)
    is_folder = Path(name).is_dir()
    try:
        with step(f"loading {name}"):
            model = AutoModelForCausalLM.from_pretrained(
                name,
                dtype=torch_dtype,
                local_files_only=files.offline,
                **({"quantization_config": quantization, "device_map": {"": device}} if quantization else {}),
            )
            tokenizer = AutoTokenizer.from_pretrained(
                adapter if adapter is not None and (adapter / "tokenizer_config.json").is_file() else name,
                local_files_only=files.offline,
            )
    except (OSError, ValueError, SafetensorError) as error:
        if is_folder:
            raise UserError(
                f'model folder "{name}" cannot be loaded: {_first_line(error)}',
                hint="check that it is complete: config.json, *.safetensors and the tokenizer's files",
            ) from error
        raise model_not_found(name) from error
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        raise UserError(
            f'model "{name}" ({type(model).__name__}) is not a plain causal language model of transformers',
            hint="use a decoder-only model such as Llama, Qwen, Mistral or Gemma",
        )
    revision = None if is_folder else f"{name}@{getattr(model.config, '_commit_hash', None)}"
    if adapter is not None:
        model = _with_adapter(model, adapter)
    return model.to(device), tokenizer, folders, revision


def _with_adapter(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    if not (adapter / "adapter_config.json").is_file():
        raise UserError(
            f'adapter folder "{adapter}" has no adapter_config.json',
            hint="give the folder that PEFT's save_pretrained wrote",
        )
    try:
        with suppress_peft_warnings():
            return PeftModel.from_pretrained(model, str(adapter))
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f'adapter "{adapter}" does not fit its base model: {_first_line(error)}',
            hint="load it with the base model it was trained on",
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:200]
