"""POPI's unified objective and the two gradients it has, as functions of log-probabilities.

    margin   m(x, z, y+, y-) = beta [log pi(y+|x,z) - log ref(y+|x)] - beta [log pi(y-|x,z) - log ref(y-|x)]
    loss     L = E_user E_{z ~ q(.|s)} [ -log sigmoid(m) ]

The generator `pi` has the ordinary DPO gradient at the sampled summaries. The inference model `q` has the
score-function gradient: its reward R(z) is the mean of log sigmoid(m) over the user's held-out pairs, so that
-R is the very loss of the generator, and both descend on one L (checked against enumeration:
`tests/popi/test_objective.py`). The paper states the objective; its RL algorithm is not known, and what is
here besides, the leave-one-out baseline and the KL penalty, is our choice.

Shapes: B users, G summaries of each, K held-out pairs of each, the same for all its summaries.
"""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid

from personakit.training.leave_one_out import leave_one_out as leave_one_out


def margins(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    reference_chosen: torch.Tensor,
    reference_rejected: torch.Tensor,
    beta: float,
) -> torch.Tensor:
    """Return m, (B, G, K), of log-probabilities in nats, each summed over the answer's tokens.

    Those of the generator are (B, G, K); those of the reference, which see no summary, (B, 1, K).
    """
    return beta * ((chosen - reference_chosen) - (rejected - reference_rejected))


def rewards(margins: torch.Tensor, present: torch.Tensor | None = None) -> torch.Tensor:
    """Return R, (B, G): the mean over pairs of log sigmoid(m), at most 0.

    `present`, (B, 1, K) of 0 and 1, says which pairs are there where users have different numbers of them.
    """
    each = logsigmoid(margins)
    if present is None:
        return each.mean(-1)
    return (each * present).sum(-1) / present.sum(-1)


def generator_loss(margins: torch.Tensor, present: torch.Tensor | None = None) -> torch.Tensor:
    """Return DPO's loss at the sampled summaries, a scalar: a mean over users, summaries and pairs."""
    return -rewards(margins, present).mean()


def inference_loss(log_q: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """Return the scalar whose gradient is an unbiased estimate of the gradient of -E[R].

    `log_q`, (B, G), is log q(z|s) of whole summaries, in nats. Its own value means nothing.
    """
    return -(advantages.detach() * log_q).mean()


def kl_estimates(log_q: torch.Tensor, log_start: torch.Tensor) -> torch.Tensor:
    """Return log q(z|s) - log q_start(z|s), (B, G), whose mean estimates KL(q || q_start) without bias.

    This one (k1 in J. Schulman's "Approximating KL divergence") and not GRPO's k3, because it is used as a
    penalty on the reward, R - weight * (log q - log q_start): the score-function gradient of that is exactly
    the gradient of E[R] - weight * KL, since E[grad log q] is 0. Differentiating k3 instead gives the
    gradient of the *forward* divergence. Over whole summaries, not tokens: a summary answers for how its
    first words change what comes after them. The price is variance, which the baseline lowers here too.
    """
    return (log_q - log_start).detach()
