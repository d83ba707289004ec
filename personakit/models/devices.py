"""The device that is used unless one is named."""

from __future__ import annotations


def default_device() -> str:
    """Return "cuda" where torch has it, else "mps" (Apple; untested), else "cpu"."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
