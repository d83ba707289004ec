"""Log-probabilities that a gradient goes through, over one trie of all rows that begin alike.

A summary stands before the request in the generator's prompt, so that a user's rows share as much as they
can: 2K(Z+X+Y) tokens of a summary, K requests and their answers become Z+K(X+2Y).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from personakit.models.decoding import pad


@dataclass(frozen=True, slots=True)
class PairLikelihood:
    """Of a batch's answers, R of them."""

    log_p: torch.Tensor
    """(R,), nats, summed over an answer's tokens."""
    entropy: torch.Tensor
    """(R,), nats, summed over the same positions; it carries no gradient."""


def likelihood(
    model: Any, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], *, pad_id: int
) -> PairLikelihood:
    """Return log p(answer | prompt) of token ids, one forward pass of the whole batch.

    `model` carries TRL's fused head, which never writes out the logits of all positions, and shares prefixes
    where it can (`training.sharing`).
    """
    rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
    ids, mask = pad(rows, pad_id, model.device, right=True)
    first = torch.tensor([len(prompt) for prompt in prompts], device=ids.device)[:, None]
    columns = torch.arange(ids.shape[1], device=ids.device)
    labels = torch.where((columns >= first) & mask.bool(), ids, -100)
    output = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
    return PairLikelihood(output.log_probs.sum(-1), output.entropy.detach().sum(-1))
