"""Differentiable log-probabilities of answers, with shared prefixes computed once.

The summary precedes the query in the generator's prompt, so that a user's rows share long prefixes: with a
summary of Z tokens, K queries of X and answers of Y tokens, 2K(Z+X+Y) tokens become Z+K(X+2Y).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from personakit.models.decoding import pad


@dataclass(frozen=True, slots=True)
class PairLikelihood:
    """Log-probability and entropy of each of a batch's R answers."""

    log_p: torch.Tensor
    """(R,), nats, summed over an answer's tokens."""
    entropy: torch.Tensor
    """(R,), nats, summed over the same positions; detached."""


def likelihood(
    model: Any, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], *, pad_id: int
) -> PairLikelihood:
    """Return log p(answer | prompt) of token ids, with one forward pass for the batch.

    `model` has TRL's fused LM head, which does not materialise all logits, and shares prefixes where possible
    (`training.sharing`).
    """
    rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
    ids, mask = pad(rows, pad_id, model.device, right=True)
    first = torch.tensor([len(prompt) for prompt in prompts], device=ids.device)[:, None]
    columns = torch.arange(ids.shape[1], device=ids.device)
    labels = torch.where((columns >= first) & mask.bool(), ids, -100)
    output = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
    return PairLikelihood(output.log_probs.sum(-1), output.entropy.detach().sum(-1))
