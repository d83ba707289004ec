"""Selection as an episode of m steps: sampling, log-probabilities, and the policy loss.

Shapes: N episodes, U prompts, m steps. `allowed`, (N, U), is a boolean mask of prompts; `selections`, (N, m),
has indices in 0 .. U - 1, and `STOPPED` after an episode stopped or ran out of prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from personakit.pillow.network import STOPPED, EncodedPool, MatchingNetwork

Algorithm = Literal["reinforce", "ppo"]


@dataclass(frozen=True, slots=True)
class SelectionLikelihood:
    """Log-probabilities and entropies of selections by step, in nats, and the mask of steps with a choice.

    All are (N, m); the first two are 0 in steps without a choice.
    """

    log_probabilities: torch.Tensor
    entropies: torch.Tensor
    chose: torch.Tensor


def draw(
    network: MatchingNetwork,
    query_vectors: torch.Tensor,
    pool: EncodedPool,
    allowed: torch.Tensor,
    *,
    m: int | None = None,
    uniforms: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return selections, (N, m): the best prompt at each step, or with `uniforms` sampled by probability.

    `m` is by default the network's. `query_vectors`, (N, width), are encoder vectors. `uniforms`, (N, m, U +
    1), has a number in [0, 1) for each prompt and STOP (Gumbel-max), so that samples do not depend on the
    batch.
    """
    with torch.inference_mode():
        walk = _Rollout(network, query_vectors, pool, allowed)
        for step in range(m or network.shape.m):
            scores = walk.scores(step)
            if uniforms is not None:
                noise = uniforms[:, step, : scores.shape[1]].clamp(1e-12, 1 - 1e-7)
                scores = scores - (-noise.log()).log()
            walk.take(scores.argmax(-1))
        return torch.stack(walk.selections, dim=1).clone()


def likelihood(
    network: MatchingNetwork,
    query_vectors: torch.Tensor,
    pool: EncodedPool,
    allowed: torch.Tensor,
    selections: torch.Tensor,
) -> SelectionLikelihood:
    """Return the log-probabilities of these selections, differentiable."""
    walk = _Rollout(network, query_vectors, pool, allowed)
    logs, entropies, chose = [], [], []
    for step in range(network.shape.m):
        log_p = walk.scores(step).log_softmax(-1)
        open_, stopped = walk.open.clone(), selections[:, step] == STOPPED
        place = selections[:, step].masked_fill(stopped, log_p.shape[1] - 1)
        taken = log_p.gather(1, place[:, None]).squeeze(1)
        entropy = -(log_p.exp() * log_p.masked_fill(log_p.isinf(), 0.0)).sum(-1)
        logs.append(torch.where(open_, taken, 0.0))
        entropies.append(torch.where(open_, entropy, 0.0))
        chose.append(open_)
        walk.take(place)
    return SelectionLikelihood(*(torch.stack(each, dim=1) for each in (logs, entropies, chose)))


def policy_loss(
    now: SelectionLikelihood,
    advantages: torch.Tensor,
    *,
    entropy_bonus: float,
    algorithm: Algorithm = "reinforce",
    before: torch.Tensor | None = None,
    clip: float = 0.2,
) -> torch.Tensor:
    """Return the scalar loss; `advantages` and `before`, PPO's old log-probabilities of selections, are (N,).

    REINFORCE: the gradient is an unbiased estimate of that of the negative expected reward. PPO: the clipped
    surrogate of the terminal reward (gamma 1) for whole selections, without a critic: an instruction's other
    selections are the baseline. Both subtract `entropy_bonus` times the mean entropy of a choice in nats.
    """
    whole = now.log_probabilities.sum(1)
    if algorithm == "ppo":
        assert before is not None
        ratio = (whole - before).exp()
        gained = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    else:
        gained = advantages.detach() * whole
    return -gained.mean() - entropy_bonus * now.entropies.sum() / now.chose.sum().clamp(min=1)


class _Rollout:
    """Steps through all episodes in parallel; handles masks and STOP."""

    def __init__(
        self, network: MatchingNetwork, query_vectors: torch.Tensor, pool: EncodedPool, allowed: torch.Tensor
    ) -> None:
        self._network = network
        self._asked, self._pool = network.normalized(query_vectors), pool
        self._allowed = allowed.clone()
        self._sum = torch.zeros_like(self._asked)
        self._taken = 0
        self.open = allowed.any(-1)
        self.selections: list[torch.Tensor] = []

    def scores(self, step: int) -> torch.Tensor:
        """Return the masked scores of step `step`; those of finished episodes are meaningless."""
        shown = self._sum / max(1, self._taken)
        scores = self._network.logits(self._asked, shown, step, self._pool.embeddings)
        may = self._allowed
        if self._network.stop is not None:
            may = torch.cat([may, torch.ones_like(may[:, :1])], dim=1)
        # Finished episodes are not masked, to avoid rows of -inf; `open` excludes them.
        return scores.masked_fill(~(may | ~self.open[:, None]), -torch.inf)

    def take(self, places: torch.Tensor) -> None:
        """Apply the selected `places`, (N,): prompt indices, or U for STOP."""
        many = self._allowed.shape[1]
        selected = self.open & (places < many)
        self.selections.append(torch.where(selected, places, STOPPED))
        safe = places.clamp(max=many - 1)
        self._sum = self._sum + torch.where(selected[:, None], self._pool.normalized[safe], 0.0)
        self._taken += 1
        self._allowed = self._allowed.scatter(
            1, safe[:, None], self._allowed.gather(1, safe[:, None]) & ~selected[:, None]
        )
        self.open = selected & self._allowed.any(-1)
