"""POPI's unified objective and its two gradients, as functions of log-probabilities.

    margin   m(x, z, y+, y-) = beta [log pi(y+|x,z) - log ref(y+|x)] - beta [log pi(y-|x,z) - log ref(y-|x)]
    loss     L = E_user E_{z ~ q(.|s)} [ -log sigmoid(m) ]

The generator `pi` has the ordinary DPO gradient at the sampled summaries. The inference model `q` has the
score-function gradient. Its reward R(z) is the mean of log sigmoid(m) over the user's held-out pairs, so that
-R is the generator's loss and both minimise the same L (checked against enumeration in
`tests/popi/test_objective.py`). The paper states the objective, but not its RL algorithm: the leave-one-out
baseline and the KL penalty are our choice.

Shapes: B users, G summaries per user, K held-out pairs per user, the same for all its summaries.
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
    """Return m, (B, G, K), from log-probabilities in nats, summed over the answer's tokens.

    The generator's are (B, G, K); the reference's (B, 1, K), since the reference sees no summary.
    """
    return beta * ((chosen - reference_chosen) - (rejected - reference_rejected))


def rewards(margins: torch.Tensor, present: torch.Tensor | None = None) -> torch.Tensor:
    """Return R, (B, G): the mean over pairs of log sigmoid(m), at most 0.

    `present`, (B, 1, K) of 0 and 1, masks missing pairs if users have different numbers of pairs.
    """
    each = logsigmoid(margins)
    if present is None:
        return each.mean(-1)
    return (each * present).sum(-1) / present.sum(-1)


def generator_loss(margins: torch.Tensor, present: torch.Tensor | None = None) -> torch.Tensor:
    """Return the DPO loss at the sampled summaries: a scalar, the mean over users, summaries and pairs."""
    return -rewards(margins, present).mean()


def inference_loss(log_q: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """Return the scalar whose gradient is an unbiased estimate of the gradient of -E[R].

    `log_q`, (B, G), is log q(z|s) of whole summaries in nats. Only the gradient of the result is meaningful.
    """
    return -(advantages.detach() * log_q).mean()


def kl_estimates(log_q: torch.Tensor, log_start: torch.Tensor) -> torch.Tensor:
    """Return log q(z|s) - log q_start(z|s), (B, G), whose mean estimates KL(q || q_start) without bias.

    This is k1 in J. Schulman's "Approximating KL divergence", not GRPO's k3, because it is a penalty on the
    reward, R - weight * (log q - log q_start): the score-function gradient of that is exactly the gradient of
    E[R] - weight * KL, since E[grad log q] is 0. Differentiating k3 would give the gradient of the *forward*
    divergence. It is computed for whole summaries, not tokens, to include the effect of early words on later
    ones. The cost is a higher variance, which the baseline reduces.
    """
    return (log_q - log_start).detach()
