"""The attention implementation that transformers knows by `NAME`.

A model hands its keyword arguments down to the attention function; `shared_prefix=` among them says how
this call attends (`Pass`). Handed down and not kept aside, because gradient checkpointing calls the
function a second time, from the backward pass. Without it a call is transformers' own scaled-dot-product
attention.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

from personakit.models.shared_prefix.attention import attend
from personakit.models.shared_prefix.packing import Packing

NAME = "personakit_shared_prefix"


class Pass(Protocol):
    """How one forward pass attends."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """Return (B, T, H, d) for `query` (B, H, T, d) over `key` and `value` (B, H', n, d)."""
        ...


class PackedPass:
    """Over a packed row, without a cache: training and scoring."""

    def __init__(self, packing: Packing, way: str | None = None) -> None:
        """`way` is `attention.attend`'s."""
        self.packing = packing
        self.way = way

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """As `Pass.attend`."""
        return attend(query, key, value, self.packing, scaling, way=self.way)


class Prefill(PackedPass):
    """Over a packed row of prompts; `states[layer]` keeps its keys and values, (1, H', N, d) each."""

    def __init__(self, packing: Packing, way: str | None = None) -> None:
        """As `PackedPass`."""
        super().__init__(packing, way)
        self.states: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """As `Pass.attend`."""
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
    """transformers' attention interface (https://huggingface.co/docs/transformers/attention_interface)."""
    if shared_prefix is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output, None
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return shared_prefix.attend(module.layer_idx, query, key, value, scaling), None


def register() -> None:
    """Make `NAME` an attention implementation of transformers; the masks are those of its "sdpa"."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, attention_function)
    AttentionMaskInterface.register(NAME, sdpa_mask)
