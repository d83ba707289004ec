"""Restricts the last layer to the tokens whose hidden states are needed.

The output of the last layer is read at few positions: those that predict a scored token. Other tokens only
contribute keys and values. The layer therefore runs in two steps: its attention over the whole packed row,
for keys and values only, then the full layer on the kept tokens (`plan.KeptTokens`), which attend to them.
For long prompts and short answers this saves most of one layer.
"""

from __future__ import annotations

import types
from functools import partial
from typing import Any

import torch

from personakit.models.shared_prefix.attention import attend
from personakit.models.shared_prefix.interface import PackedPass
from personakit.models.shared_prefix.packing import Packing
from personakit.models.shared_prefix.plan import KeptTokens

# Kept tokens inside shared segments need a mask, and the second step has an overhead: above these limits it
# is not worthwhile.
_MOST_IN_SEGMENTS, _MOST_KEPT = 256, 0.8


class TrimmedPass(PackedPass):
    """A pass over a packed row whose last layer computes only some tokens."""

    def __init__(self, packing: Packing, kept: KeptTokens, backend: str | None = None) -> None:
        """See `PackedPass`. `kept` are the tokens to compute."""
        super().__init__(packing, backend)
        self.kept = kept


def trimmed(packing: Packing, needed: torch.Tensor, backend: str | None) -> TrimmedPass | None:
    """Return a pass for the `needed` tokens (indices of the packed row), or None if not worthwhile."""
    if bool((needed == packing.tokens).any()):
        return None  # a scored token without a preceding token
    kept = KeptTokens(packing, needed)
    if kept.in_segments > _MOST_IN_SEGMENTS or len(kept.places) > _MOST_KEPT * packing.tokens:
        return None
    return TrimmedPass(packing, kept, backend)


def install(body: Any) -> bool:
    """Enable `TrimmedPass` in `body`'s last layer. Return False if the layer has an unexpected structure."""
    layers = getattr(body, "layers", None)
    if not isinstance(layers, torch.nn.ModuleList) or len(layers) == 0:
        return False
    last = layers[-1]
    if not hasattr(last, "self_attn") or not hasattr(last, "input_layernorm") or "forward" in last.__dict__:
        return False
    last.forward = types.MethodType(_forward, last)
    return True


def uninstall(body: Any) -> None:
    """Undo `install`."""
    for layer in list(getattr(body, "layers", []))[-1:]:
        layer.__dict__.pop("forward", None)


def _forward(self: Any, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    """The layer's forward, with its signature."""
    trimmed_pass = kwargs.get("shared_prefix")
    if not isinstance(trimmed_pass, TrimmedPass) or args:
        return type(self).forward(self, hidden_states, *args, **kwargs)
    if self.training and getattr(self, "gradient_checkpointing", False):
        return self._gradient_checkpointing_func(partial(_trimmed, self, kwargs=kwargs), hidden_states)
    return _trimmed(self, hidden_states, kwargs)


def _trimmed(self: Any, hidden_states: torch.Tensor, kwargs: dict[str, Any]) -> Any:
    trimmed_pass: TrimmedPass = kwargs["shared_prefix"]
    states = _KeysAndValues()
    self.self_attn(hidden_states=self.input_layernorm(hidden_states), **(kwargs | {"shared_prefix": states}))
    places, tokens = trimmed_pass.kept.places, trimmed_pass.packing.tokens
    own_arguments = {name: _select(value, places, tokens) for name, value in kwargs.items()}
    own_arguments["shared_prefix"] = _KeptQueries(trimmed_pass, states)
    kept_states = hidden_states.index_select(1, places)
    if not (self.training and getattr(self, "gradient_checkpointing", False)):
        return type(self).forward(self, kept_states, **own_arguments)
    # The layer's class has its own checkpointing; here everything is inside one checkpoint already.
    self.gradient_checkpointing = False
    try:
        return type(self).forward(self, kept_states, **own_arguments)
    finally:
        self.gradient_checkpointing = True


def _select(value: Any, places: torch.Tensor, tokens: int) -> Any:
    """Return `value` at the kept tokens if it has an entry per token (rotary embeddings, positions)."""
    if isinstance(value, tuple):
        return tuple(_select(element, places, tokens) for element in value)
    if isinstance(value, torch.Tensor) and value.dim() > 1 and value.shape[:2] == (1, tokens):
        return value.index_select(1, places)
    return value


class _KeysAndValues:
    """A pass that records a layer's keys and values without attending."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """See `Pass.attend`. The output is zero."""
        self.key, self.value = key, value
        return value.new_zeros(()).expand(query.transpose(1, 2).shape)


class _KeptQueries:
    """A pass with the kept tokens' queries over the whole row's keys and values."""

    def __init__(self, trimmed_pass: TrimmedPass, states: _KeysAndValues) -> None:
        self._pass, self._states = trimmed_pass, states

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """See `Pass.attend`. `key` and `value` are those of the kept tokens and ignored."""
        trimmed_pass = self._pass
        return attend(
            query,
            self._states.key,
            self._states.value,
            trimmed_pass.packing,
            scaling,
            kept=trimmed_pass.kept,
            backend=trimmed_pass.backend,
        )
