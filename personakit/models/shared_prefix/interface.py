"""The attention implementation registered with transformers as `NAME`.

A model passes its keyword arguments on to the attention function; among them `shared_prefix=` selects how a
call attends (`Pass`). It is passed rather than stored, because gradient checkpointing calls the function
again in the backward pass. Without it, the call is transformers' scaled dot-product attention.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, Protocol

import torch

from personakit.models.one_token import attend_one_token, is_one_low_token
from personakit.models.shared_prefix.attention import attend
from personakit.models.shared_prefix.packing import Packing

NAME = "personakit_shared_prefix"


def cache_argument(model: Any) -> str:
    """Return the name of the cache in the model's forward: `past_key_values` before transformers 5.24.

    From 5.24 on it is `cache`, and so is the field of the output.
    """
    return _cache_argument(type(model))  # type: ignore[arg-type]  # mypy: a class of Any has no hash


@functools.cache
def _cache_argument(model_class: Any) -> str:
    return "cache" if "cache" in inspect.signature(model_class.forward).parameters else "past_key_values"


class Pass(Protocol):
    """How one forward pass attends."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """Return (B, T, H, d) for `query` (B, H, T, d) over `key` and `value` (B, H', n, d)."""
        ...


class PackedPass:
    """Attention over a packed row without a cache, for training and scoring."""

    def __init__(self, packing: Packing, backend: str | None = None) -> None:
        """`backend` is the backend of `attention.attend`."""
        self.packing = packing
        self.backend = backend

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """See `Pass.attend`."""
        return attend(query, key, value, self.packing, scaling, backend=self.backend)


class Prefill(PackedPass):
    """Attention over a packed row of prompts. `states[layer]` stores keys and values, (1, H', N, d) each."""

    def __init__(self, packing: Packing, backend: str | None = None) -> None:
        """See `PackedPass`."""
        super().__init__(packing, backend)
        self.states: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """See `Pass.attend`."""
        self.states[layer] = (key, value)
        return super().attend(layer, query, key, value, scaling)


def attention_function(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    shared_prefix: Pass | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Implement transformers' attention interface
    (https://huggingface.co/docs/transformers/attention_interface).
    """
    if shared_prefix is None and not dropout and is_one_low_token(query, attention_mask):
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        return attend_one_token(query, key, value, attention_mask, scaling)[0].transpose(1, 2), None
    if shared_prefix is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output, None
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return shared_prefix.attend(module.layer_idx, query, key, value, scaling), None


def register() -> None:
    """Register `NAME` as an attention implementation of transformers, with the masks of "sdpa"."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, attention_function)
    AttentionMaskInterface.register(NAME, sdpa_mask)
