"""nano: the built-in model, a Llama with about a million parameters (see README.md in this folder)."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "weights"
"""A plain transformers folder: config.json, model.safetensors, tokenizer.json."""
