"""In the last layer only the tokens whose hidden states are wanted go all the way.

What comes after the last layer reads a few positions: those that predict a scored token. Of all others
the layer owes no more than keys and values. So it is run in two steps: its attention once over the
whole packed row, for the keys and values alone, then the layer itself on the kept tokens (`plan.Kept`),
which attend to those. Where prompts are long and answers short that is most of one layer saved.
"""

from __future__ import annotations

import types
from functools import partial
from typing import Any

import torch

from personakit.models.shared_prefix.attention import attend
from personakit.models.shared_prefix.interface import PackedPass
from personakit.models.shared_prefix.packing import Packing
from personakit.models.shared_prefix.plan import Kept

# Kept tokens inside shared segments need a mask, and the second step its own work: beyond these it is
# not worth it.
_MOST_IN_SEGMENTS, _MOST_KEPT = 256, 0.8


class TrimmedPass(PackedPass):
    """A pass over a packed row whose last layer keeps only some tokens."""

    def __init__(self, packing: Packing, kept: Kept, way: str | None = None) -> None:
        """As `PackedPass`; `kept` says which."""
        super().__init__(packing, way)
        self.kept = kept


def trimmed(packing: Packing, wanted: torch.Tensor, way: str | None) -> TrimmedPass | None:
    """Return the pass that keeps the tokens `wanted` (places), or None where it would not pay."""
    if bool((wanted == packing.tokens).any()):
        return None  # a scored token that nothing precedes
    kept = Kept(packing, wanted)
    if kept.in_segments > _MOST_IN_SEGMENTS or len(kept.places) > _MOST_KEPT * packing.tokens:
        return None
    return TrimmedPass(packing, kept, way)


def install(body: Any) -> bool:
    """Let `body`'s last layer serve a `TrimmedPass`; False where it is built in another way."""
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
    how = kwargs.get("shared_prefix")
    if not isinstance(how, TrimmedPass) or args:
        return type(self).forward(self, hidden_states, *args, **kwargs)
    if self.training and getattr(self, "gradient_checkpointing", False):
        return self._gradient_checkpointing_func(partial(_trimmed, self, kwargs=kwargs), hidden_states)
    return _trimmed(self, hidden_states, kwargs)


def _trimmed(self: Any, hidden_states: torch.Tensor, kwargs: dict[str, Any]) -> Any:
    how: TrimmedPass = kwargs["shared_prefix"]
    states = _KeysAndValues()
    self.self_attn(hidden_states=self.input_layernorm(hidden_states), **(kwargs | {"shared_prefix": states}))
    places, tokens = how.kept.places, how.packing.tokens
    own = {name: _at(value, places, tokens) for name, value in kwargs.items()}
    own["shared_prefix"] = _KeptQueries(how, states)
    kept_states = hidden_states.index_select(1, places)
    if not (self.training and getattr(self, "gradient_checkpointing", False)):
        return type(self).forward(self, kept_states, **own)
    # The layer's class checkpoints by itself; here all of it is inside one checkpoint already.
    self.gradient_checkpointing = False
    try:
        return type(self).forward(self, kept_states, **own)
    finally:
        self.gradient_checkpointing = True


def _at(value: Any, places: torch.Tensor, tokens: int) -> Any:
    """`value` at the kept places, if it has an entry for each token (rotary embeddings, positions)."""
    if isinstance(value, tuple):
        return tuple(_at(each, places, tokens) for each in value)
    if isinstance(value, torch.Tensor) and value.dim() > 1 and value.shape[:2] == (1, tokens):
        return value.index_select(1, places)
    return value


class _KeysAndValues:
    """A pass that takes a layer's keys and values and attends to nothing."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """As `Pass.attend`; the output is zero."""
        self.key, self.value = key, value
        return value.new_zeros(()).expand(query.transpose(1, 2).shape)


class _KeptQueries:
    """A pass of the kept tokens' queries over the whole row's keys and values."""

    def __init__(self, how: TrimmedPass, states: _KeysAndValues) -> None:
        self._how, self._states = how, states

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """As `Pass.attend`; `key` and `value`, of the kept tokens alone, are not looked at."""
        how = self._how
        return attend(
            query, self._states.key, self._states.value, how.packing, scaling, kept=how.kept, way=how.way
        )
