"""voice: the built-in rewriter, a finished RPO run on `smollm2` (see README.md in this folder)."""

from __future__ import annotations

from pathlib import Path

NAME = "voice"
FOLDER = Path(__file__).parent / "run"
"""A run folder: config.yaml, run.json, and the adapter in model/."""
