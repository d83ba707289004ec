"""Rejects a model whose files do not have exactly its weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from personakit.errors import UserError


def check_weights(source: str, model: Any, report: Mapping[str, Any]) -> None:
    """Raise `UserError` for weights that are missing, unknown or of another size, by transformers' `report`.

    transformers initialises such weights at random and goes on. Tied weights, and those that an architecture
    is known to save for nothing, are not in its report.
    """
    mismatched = [f"{name} {tuple(stored)}" for name, stored, *_ in report.get("mismatched_keys", ())]
    problems = [
        f"{label} {in_words(names)}"
        for label, names in (
            ("lack", report["missing_keys"]),
            ("have the unknown", report["unexpected_keys"]),
            ("have the wrong size of", mismatched),
        )
        if names
    ]
    if not problems:
        return
    raise UserError(
        f"the weights in {_files(source)} do not fit {type(model).__name__}: they {', and '.join(problems)}",
        hint="use the config.json of these weights"
        if mismatched
        else "save the model again with transformers' save_pretrained: not the one that torch.compile or DDP "
        "returns, which names weights differently, but the model inside it",
    )


def in_words(names: Collection[str]) -> str:
    """Return how many weights these are, and the first two names."""
    first = sorted(names)
    more = f", ... ({len(first)} weights)" if len(first) > 2 else ""
    return f"{' and '.join(first[:2]) if not more else ', '.join(first[:2])}{more}"


def in_one_line(error: BaseException) -> str:
    """Return a library's message in one line of at most 200 characters, or the exception's name."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _files(source: str) -> str:
    folder = Path(source)
    if not folder.is_dir():
        return f'model "{source}"'
    files = sorted(path for kind in ("*.safetensors", "*.bin") for path in folder.glob(kind))
    return f'"{files[0]}"' if len(files) == 1 else f'the {len(files)} weight files of "{folder}"'
