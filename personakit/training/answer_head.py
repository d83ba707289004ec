"""Score only the answer's positions on a CPU.

TRL's fused head leaves out masked positions only where it has Triton; elsewhere it multiplies every
prompt position by the whole vocabulary and takes softmax, entropy and arg-max of it, which for a small
model is more than half of a training step. This hands it just the positions that carry a label,
through its own `shift_labels` path. Right padding needs no mask in a causal model either, and the
kernels are faster without one.

Loss and gradients are the same sums over the same positions (test: `tests/training/test_answer_head.py`).
"""

from __future__ import annotations

import functools
import types
from typing import Any


def score_answers_only(model: Any) -> None:
    """Wrap `model`, a causal language model or a PEFT model, after its SFTTrainer is built.

    Does nothing for models with layers other than full or sliding attention, or with several experts:
    there padding matters.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = causal.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or [])
    if kinds - {"full_attention", "sliding_attention"} or getattr(config, "num_experts", None):
        return
    scored = causal.forward
    labelled: list[Any] = []  # handed from forward to the body's hook

    @functools.wraps(type(causal).forward)  # transformers reads the signature
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        labels = kwargs.get("labels")
        if not kwargs.get("fused_lm_head") or labels is None:
            return scored(*args, **kwargs)
        kept = labels[:, 1:] != -100
        labelled.append(kept)
        kwargs = {name: value for name, value in kwargs.items() if name not in ("labels", "attention_mask")}
        return scored(*args, **kwargs, shift_labels=labels[:, 1:][kept][None])

    def keep_labelled(body: Any, args: Any, output: Any) -> Any:
        if labelled:
            output.last_hidden_state = output.last_hidden_state[:, :-1][labelled.pop()][None]
        return output

    # A bound method, not a hook: PEFT calls the base model's `forward`, past its hooks, and accelerate
    # rebinds it for autocast.
    causal.forward = types.MethodType(forward, causal)
    causal.base_model.register_forward_hook(keep_labelled)
