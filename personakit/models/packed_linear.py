"""Linear layers for inference in bfloat16 on a CPU, with weights packed once.

torch rearranges a bfloat16 weight for oneDNN in every call, which costs more than the product itself for few
rows. Packed once (as torch.compile's freezing does), a decoding step reads half the bytes of float32. The
plain weight stays for everything else that reads it, so such a model takes as much memory as in float32.
A change through `weight.data`, as when PEFT merges an adapter, is not noticed: packed models are not merged.
"""

from __future__ import annotations

from typing import Any

import torch


class PackedLinear(torch.nn.Linear):
    """A linear layer with its weight packed for oneDNN. Its result equals the plain one's up to rounding."""

    _packed: torch.Tensor
    _packed_version: int

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Use the packed weight, unless there is a gradient, another dtype, or a weight on another device."""
        weight = self.weight
        usable = weight.dtype == input.dtype == torch.bfloat16 and weight.device.type == "cpu"
        if not usable or input.numel() == 0 or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        if torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad):
            return super().forward(input)
        if self._packed_version != weight._version:  # changed in place
            self.pack()
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            input, self._packed, self.bias, "none", [], ""
        )
        return product

    def pack(self) -> None:
        """Pack the present weight."""
        packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach(), 16)
        # Not a buffer: it is neither saved nor moved.
        self.__dict__["_packed"] = packed
        self.__dict__["_packed_version"] = self.weight._version


def pack_linears(model: Any, *, release: bool = False) -> None:
    """Pack the linear layers of `model` in place, if they are bfloat16 and torch has the kernels.

    `release` frees the plain weights: such a model only computes without gradients, and halves its memory.
    """
    if not torch.backends.mkldnn.enabled or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return
    for module in model.modules():
        if (
            type(module) is torch.nn.Linear
            and module.weight.dtype == torch.bfloat16
            and module.weight.device.type == "cpu"
        ):
            module.__class__ = PackedLinear
            PackedLinear.pack(module)  # type: ignore[arg-type]  # its class is this one now
            if release:
                module.weight = torch.nn.Parameter(module.weight.new_empty(0), requires_grad=False)
                module.__dict__["_packed_version"] = module.weight._version
