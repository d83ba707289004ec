"""The state of prefix sharing on one model."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

import torch

_log = logging.getLogger(__name__)

#: Batches of which less than this share of tokens (with padding) would be saved run without sharing.
MIN_SAVED_SHARE = 0.1


@dataclass
class Sharing:
    """How a body shares prefixes, and how many tokens it has saved."""

    reason: str | None = None
    """Why it does not share prefixes; None if it does."""
    installed: bool = True
    """Whether the body's forward is replaced, so that `output_positions` works even without sharing."""
    backend: str | None = None
    """The attention backend (`attention.attend`); None: the device's default."""
    min_saved_states: int = 256
    """Decode over shared states if each call saves at least this many (`decoding.saved_states`)."""
    min_saved_share: float = MIN_SAVED_SHARE
    """Pack batches of which at least this share of tokens is saved."""
    trims_last_layer: bool = False
    """Whether the last layer computes only the needed tokens (`last_layer.py`)."""
    checked: bool = False
    """Whether this body has been compared with its own dense pass."""
    dense_tokens: int = 0
    """The number of tokens, with padding, in the batches without a cache so far."""
    computed_tokens: int = 0
    """The number of tokens computed for them."""
    warnings: set[str] = field(default_factory=set)
    """The warnings that have been logged."""
    _output_positions: dict[int, torch.Tensor] = field(default_factory=dict, init=False, repr=False)

    @property
    def output_positions(self) -> torch.Tensor | None:
        """(B, T) bool: the positions whose hidden states the caller needs from the next call in its thread.

        That call returns only these hidden states, (1, n, d).
        """
        return self._output_positions.get(threading.get_ident())

    @output_positions.setter
    def output_positions(self, positions: torch.Tensor | None) -> None:
        self._output_positions.pop(threading.get_ident(), None)
        if positions is not None:
            self._output_positions[threading.get_ident()] = positions

    def warn_once(self, message: str) -> None:
        """Log a warning, unless it has been logged before."""
        if message not in self.warnings:
            self.warnings.add(message)
            _log.warning("prefix sharing: %s", message)
