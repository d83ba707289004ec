"""Converts GGUF files to transformers folders, once, in the cache folder.

Weights are dequantised and stored in float32: only there do the values of GGUF's number formats survive (of
Q4_1, 18 % are exact in bfloat16 and 52 % in float16). The folder's name has a digest of the file's content.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
from pathlib import Path
from typing import Any

from personakit.errors import RunError, UserError
from personakit.files import atomic_folder, cache_folder
from personakit.models.available_memory import available_memory, format_gb
from personakit.models.environment import hide_loading_bars
from personakit.models.fingerprint import file_digest
from personakit.models.weight_names import in_one_line
from personakit.steps import step

#: Increment when the conversion changes, so that folders of the old version are not used.
_VERSION = 1


def is_gguf(name: str) -> bool:
    """Return whether `name` is the path of a GGUF file."""
    return name.lower().endswith(".gguf")


def converted(name: str, *, label: str | None = None) -> Path:
    """Return the folder of the GGUF file `name`, which is converted if it has not been before.

    The folder is called `label` (by default the file's name) and the digest. Raises `UserError` if there is
    no such file, if it is damaged, or if transformers does not support its architecture, and `RunError` if
    memory does not suffice.
    """
    from filelock import FileLock

    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(f'GGUF file "{path}" does not exist', hint="check the path")
    digest = hashlib.sha256(f"{_VERSION}\0{file_digest(path)}".encode()).hexdigest()[:16]
    folder = conversions() / f"{label or path.stem}-{digest}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            _convert(path, folder)
    return folder


def conversions() -> Path:
    """Return the folder of converted models."""
    return cache_folder() / "models"


def conversion_bytes(path: Path) -> int:
    """Return the memory that converting a GGUF file takes: its float32 weights, and one tensor twice."""
    sizes = [4 * int(tensor.n_elements) for tensor in _read(path).tensors]
    return sum(sizes) + 2 * max(sizes, default=0)


def _convert(path: Path, folder: Path) -> None:
    needed, free = conversion_bytes(path), available_memory("cpu")
    if needed > free:
        raise RunError(
            f'converting "{path}" takes {format_gb(needed)} of memory, and {format_gb(free)} are free',
            hint="its weights are dequantised to float32: use a smaller model, or a machine with more memory",
        )
    print(
        f"converting {path.name} to {folder}, once: {format_gb(needed)} of memory",
        file=sys.stderr,
        flush=True,
    )
    with step(f"converting {path.name}"), atomic_folder(folder) as temporary:
        model, tokenizer = _load(path)
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)


def _load(path: Path) -> tuple[Any, Any]:
    hide_loading_bars()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    place = {"gguf_file": path.name, "local_files_only": True}
    # transformers draws a bar for the tensors, which is of use in a terminal only.
    hidden = contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO())
    try:
        with hidden:
            model, report = AutoModelForCausalLM.from_pretrained(
                path.parent,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
                **place,
            )
            tokenizer = AutoTokenizer.from_pretrained(path.parent, **place)
    except Exception as error:
        raise UserError(
            f'GGUF file "{path}" cannot be converted: {in_one_line(error)}',
            hint="give the model's transformers folder, or a GGUF file of an architecture that transformers "
            "can read",
        ) from error
    absent = sorted(report["missing_keys"])
    if absent:
        raise UserError(
            f'GGUF file "{path}" lacks {len(absent)} weights of {type(model).__name__}: {absent[0]}, ...',
            hint="download the file again; a model that is split into several files cannot be read",
        )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config  # the saved weights are not quantised
    return model, tokenizer


def _read(path: Path) -> Any:
    try:
        from gguf import GGUFReader

        return GGUFReader(path)
    except ImportError as error:
        raise UserError(
            f'GGUF file "{path}" cannot be read: the package gguf is not installed', hint="pip install gguf"
        ) from error
    except Exception as error:
        raise UserError(
            f'GGUF file "{path}" is damaged: {in_one_line(error)}',
            hint="download it again",
        ) from error
