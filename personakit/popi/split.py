"""The exact decomposition of POPI's objective if all summaries can be enumerated.

    E[-log p(c|x,y1,y2,z)] = E KL(p* || p)  [generator error]  +  H(c|x,y1,y2) - I(c; z|x,y1,y2)

c is the preferred one of two answers in random order; p* is the true probability of c given the pair and the
summary. A better generator lowers the first term, a better summary raises I, and H does not depend on either.
On real models only differences of the left side can be measured.
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
    """E KL(p* || p), at least 0; 0 if the generator is optimal for every summary."""
    label_entropy: float
    """H(c|x,y1,y2): the uncertainty without knowledge of the user; at most log 2."""
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
    each user's pairs; `labels` (U, N) is the probability that the user prefers a pair's first answer;
    `margins` (Z, N) are the generator's: it predicts sigmoid(margin). A pair with swapped answers has the
    label 1 - p and the margin -m, and contributes the same to every term.
    """
    user_pairs = users[:, None] * pairs
    first = torch.einsum("un,uz,un->zn", user_pairs, summaries, labels)
    second = torch.einsum("un,uz,un->zn", user_pairs, summaries, 1 - labels)
    joint = torch.stack([first, second])  # p(c, z, pair)
    log_p = torch.nn.functional.logsigmoid(torch.stack([margins, -margins]))
    without_label = joint.sum(0, keepdim=True)  # p(z, pair)
    without_summary = joint.sum(1, keepdim=True)  # p(c, pair)
    label_entropy = _entropy(without_summary, without_summary.sum(0, keepdim=True))
    known_entropy = _entropy(joint, without_label)  # H(c|x,y1,y2,z)
    cross_entropy = -(joint * log_p).sum()
    return Split(
        cross_entropy=float(cross_entropy),
        generator_error=float(cross_entropy - known_entropy),
        label_entropy=float(label_entropy),
        informativeness=float(label_entropy - known_entropy),
    )


def _entropy(joint: torch.Tensor, marginal: torch.Tensor) -> torch.Tensor:
    """Return H(c|rest) of p(c, rest), with c along the first dimension."""
    share = joint / marginal.clamp(min=torch.finfo(joint.dtype).tiny)
    total: torch.Tensor = torch.special.xlogy(joint, share).sum()
    return -total
