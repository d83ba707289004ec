"""nano: the built-in model, a Llama of about a million parameters (see README.md beside this file)."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "weights"
"""A plain transformers folder: config.json, model.safetensors, tokenizer.json."""
