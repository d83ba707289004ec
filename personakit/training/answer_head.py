"""Score only the positions that carry a label.

TRL's fused head leaves out masked positions only where it has Triton; elsewhere it multiplies every
prompt position by the whole vocabulary and takes softmax, entropy and arg-max of it, which for a small
model is more than half of a training step. This hands it just the positions that carry a label, through
its own `shift_labels` path, and puts what it returns back in place. The body, which is told which
positions those are, need not write out the hidden states of the others.

Loss, log-probabilities and gradients are the same sums over the same positions (test:
`tests/training/test_answer_head.py`).
"""

from __future__ import annotations

import functools
import types
from typing import Any

from personakit.models.shared_prefix import Sharing, share_prefixes

# Where a larger share of the positions is scored, TRL's own pass over all of them is as fast.
_MOST_SCORED = 0.9
# The per-token fields of TRL's FusedCausalLMOutput.
_PER_TOKEN = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")


def score_answers_only(model: Any) -> Sharing:
    """Wrap `model`, a causal language model or a PEFT model, after its trainer gave it TRL's fused head.

    Its body comes to share prefixes as well (`share_prefixes`), where it can.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    sharing = share_prefixes(model)
    if not sharing.installed:
        return sharing
    present = causal.forward
    # Of a bound method the function, so that a deep copy's wrapper runs the copy.
    inner = getattr(present, "__func__", None)

    def scored(self: Any, *args: Any, **kwargs: Any) -> Any:
        return present(*args, **kwargs) if inner is None else inner(self, *args, **kwargs)

    @functools.wraps(type(causal).forward)  # transformers reads the signature
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        labels = kwargs.get("labels")
        if args or labels is None or not kwargs.get("fused_lm_head") or kwargs.get("input_ids") is None:
            return scored(self, *args, **kwargs)
        labelled = labels[:, 1:] != -100
        own = getattr(self.base_model, "shared_prefix", None)  # of this model, be it a deep copy
        share = labelled.float().mean().item()
        # With no position scored TRL's own zero keeps the graph whole; with nearly all nothing is left out.
        if own is None or share == 0 or share > _MOST_SCORED:
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
