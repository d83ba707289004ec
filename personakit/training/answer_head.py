"""Compute logits only at positions that have a label.

Without Triton, TRL's fused head computes the logits, softmax, entropy and arg-max of every prompt position
too, which takes more than half of a training step of a small model. This wrapper passes only the labelled
positions to the head, through its `shift_labels` argument, and scatters the results back. The body gets the
positions as well and skips the hidden states of all others.

Loss, log-probabilities and gradients are unchanged (`tests/training/test_answer_head.py`).
"""

from __future__ import annotations

import functools
import types
from typing import Any

from personakit.models.shared_prefix import Sharing, share_prefixes

# Above this fraction of labelled positions, TRL's own pass over all positions is as fast.
_MAX_LABELLED_FRACTION = 0.9
# The per-token fields of TRL's FusedCausalLMOutput.
_PER_TOKEN = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")


def score_answers_only(model: Any) -> Sharing:
    """Wrap `model`, a causal language model or PEFT model that already has TRL's fused head.

    Its body also shares prefixes if it supports that (`share_prefixes`). Returns the handle of the sharing.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    sharing = share_prefixes(model)
    if not sharing.installed:
        return sharing
    present = causal.forward
    # The function of a bound method, so that a deep copy's wrapper runs the copy.
    inner = getattr(present, "__func__", None)

    def scored(self: Any, *args: Any, **kwargs: Any) -> Any:
        return present(*args, **kwargs) if inner is None else inner(self, *args, **kwargs)

    @functools.wraps(type(causal).forward)  # transformers reads the signature
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        labels = kwargs.get("labels")
        if args or labels is None or not kwargs.get("fused_lm_head") or kwargs.get("input_ids") is None:
            return scored(self, *args, **kwargs)
        labelled = labels[:, 1:] != -100
        own = getattr(self.base_model, "shared_prefix", None)  # of this model, which may be a deep copy
        labelled_fraction = labelled.float().mean().item()
        # Without labels, TRL's own zero loss keeps the graph; with almost only labels, skipping saves
        # nothing.
        if own is None or labelled_fraction == 0 or labelled_fraction > _MAX_LABELLED_FRACTION:
            return scored(self, **kwargs)
        kwargs.pop("labels")
        own.output_positions = labelled.new_zeros(labels.shape)
        own.output_positions[:, :-1] = labelled
        try:
            output = scored(self, **kwargs, shift_labels=labels[:, 1:][labelled][None])
        finally:
            own.output_positions = None
        for field in _PER_TOKEN:
            values = getattr(output, field)
            if values is not None:
                placed = values.new_zeros(labelled.shape).masked_scatter(labelled, values[0])
                setattr(output, field, placed)
        output.label_mask = labelled
        return output

    # A bound method, not a hook: PEFT calls the base model's `forward`, past its hooks, and accelerate
    # rebinds it for autocast.
    causal.forward = types.MethodType(forward, causal)
    return sharing
