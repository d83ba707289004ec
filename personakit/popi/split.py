"""The exact split of POPI's objective where all summaries can be enumerated.

    E[-log p(c|x,y1,y2,z)] = E KL(p* || p)  [generator error]  +  H(c|x,y1,y2) - I(c; z|x,y1,y2)

c says which of two answers, shown in an order that tells nothing, the user prefers; p* is what can be known
of c from the pair and the summary. A better generator lowers the first term, a better summary raises I, and
what no summary can tell stays in H. On real models only differences of the left side can be measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Split:
    """The terms, in nats."""

    cross_entropy: float
    """E[-log p(c|x,y1,y2,z)], which is POPI's loss."""
    generator_error: float
    """E KL(p* || p), at least 0; 0 where the generator makes the best of every summary."""
    label_entropy: float
    """H(c|x,y1,y2): what is left open when nothing is known of the user; log 2 at most."""
    informativeness: float
    """I(c; z|x,y1,y2), between 0 and the label entropy."""


def split_objective(
    users: torch.Tensor,
    summaries: torch.Tensor,
    pairs: torch.Tensor,
    labels: torch.Tensor,
    margins: torch.Tensor,
) -> Split:
    """Return the split for U kinds of users, Z summaries and N pairs.

    `users` (U,) is their distribution; `summaries` (U, Z) is q(z|user); `pairs` (U, N) is the distribution of
    the pairs that a user meets; `labels` (U, N) is the probability that the user prefers a pair's first
    answer; `margins` (Z, N) is the generator's: it believes sigmoid(margin). A pair shown the other way round
    has the label 1 - p and the margin -m, and adds the same to every term.
    """
    meets = users[:, None] * pairs
    first = torch.einsum("un,uz,un->zn", meets, summaries, labels)
    second = torch.einsum("un,uz,un->zn", meets, summaries, 1 - labels)
    joint = torch.stack([first, second])  # p(c, z, pair)
    believed = torch.stack([margins, -margins])
    log_p = torch.nn.functional.logsigmoid(believed)
    told = joint.sum(0, keepdim=True)
    untold = joint.sum(1, keepdim=True)  # no summary: p(c, pair)
    of_pair = untold.sum(0, keepdim=True)
    known = _entropy(joint, told)
    return Split(
        cross_entropy=float(-(joint * log_p).sum()),
        generator_error=float(-(joint * log_p).sum() - known),
        label_entropy=float(_entropy(untold, of_pair)),
        informativeness=float(_entropy(untold, of_pair) - known),
    )


def _entropy(joint: torch.Tensor, marginal: torch.Tensor) -> torch.Tensor:
    """H(c|rest) of p(c, rest), c along the first dimension."""
    share = joint / marginal.clamp(min=torch.finfo(joint.dtype).tiny)
    total: torch.Tensor = torch.special.xlogy(joint, share).sum()
    return -total
