"""Checks the files of a model folder before they are loaded, so that the error names the file.

Libraries report a damaged file without its name, or with a stack of their own functions.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from personakit.errors import UserError

_JSON = (
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_TEXT = ("chat_template.jinja", "merges.txt", "vocab.txt", "vocab.json", "tokenizer.model")
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt")
_POINTER = b"version https://git-lfs.github.com/spec/"


def check_folder(folder: Path) -> None:
    """Raise `UserError` for the first file that is cut, a pointer of git LFS, no JSON object, or missing."""
    weights = [path for pattern in _WEIGHTS for path in sorted(folder.glob(pattern))]
    for path in (*(folder / name for name in (*_JSON, *_TEXT)), *weights):
        if path.is_file():
            _check_pointer(path)
    for name in _JSON:
        if (folder / name).is_file():
            state = (folder / name).stat()
            _check_object(folder / name, state.st_size, state.st_mtime_ns)
    for index in sorted(folder.glob("*.index.json")):
        _check_shards(index)
    for path in weights:
        if path.suffix == ".safetensors":
            _check_safetensors(path)


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`. Raises `UserError` if there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(
            f'file "{path}" is not valid JSON: {error}',
            hint="the file is damaged or incomplete: copy or download it again",
        ) from error
    if not isinstance(found, dict):
        raise UserError(
            f'file "{path}" has a {type(found).__name__}, expected a JSON object',
            hint="copy or download it again",
        )
    return found


@functools.lru_cache(maxsize=64)
def _check_object(path: Path, size: int, modified: int) -> None:
    """Check a file once as long as it does not change: a large vocabulary takes a tenth of a second."""
    read_object(path)


def _check_pointer(path: Path) -> None:
    with path.open("rb") as handle:
        if handle.read(len(_POINTER)) == _POINTER:
            raise UserError(
                f'file "{path}" is a pointer of git LFS, not the file itself',
                hint="run `git lfs pull` in the model's folder",
            )


def _check_shards(index: Path) -> None:
    names = read_object(index).get("weight_map")
    if not isinstance(names, dict):
        raise UserError(f'file "{index}" has no weight_map', hint="copy or download it again")
    missing = sorted({str(name) for name in names.values() if not (index.parent / str(name)).is_file()})
    if missing:
        raise UserError(
            f'file "{index.parent / missing[0]}" is missing ({len(missing)} of '
            f"{len(set(names.values()))} weight files in {index.name})",
            hint="the download is incomplete: resume it",
        )


def _check_safetensors(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np"):
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(
            f'file "{path}" is no complete safetensors file: {error}',
            hint="copy or download it again",
        ) from error
