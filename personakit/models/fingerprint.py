"""Fingerprints of models, so that the answer cache is not used for weights that have changed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from personakit.files import cache_folder, write_text

# Files that determine a model's answers. Checkpoints, model cards and optimizer states do not.
_PATTERNS = (
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "*.safetensors",
    "*.bin",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "chat_template*",
)
_LARGE = 64 * 2**20


def fingerprint_folder(folder: Path) -> str:
    """Return a hash of the weight, configuration and tokenizer files in `folder`."""
    files = {path for pattern in _PATTERNS for path in folder.glob(pattern) if path.is_file()}
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(f"{path.name}\0{file_digest(path)}\0".encode())
    return total.hexdigest()


def fingerprint_of(revision: str | None, folders: Sequence[Path]) -> str:
    """Return a hash of a model: "name@commit" if it comes from the hub, and its folders in order."""
    parts = [revision or "", *map(fingerprint_folder, folders)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def answer_fingerprint(model: Any) -> str:
    """Return what identifies a model's answers: its `answer_fingerprint` if it has one, else `fingerprint`.

    The former also tells number formats apart, which change answers but not the weights' identity.
    """
    own = getattr(model, "answer_fingerprint", None)
    return str(model.fingerprint if own is None else own)


def file_digest(path: Path) -> str:
    """Return the hash of one file. For large files it is cached by path, size and modification time."""
    stat = path.stat()
    if stat.st_size < _LARGE:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    place = f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}"
    remembered = cache_folder() / "digests" / hashlib.sha256(place.encode()).hexdigest()
    if remembered.is_file():
        return remembered.read_text(encoding="utf-8")
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    write_text(remembered, digest)
    return digest
