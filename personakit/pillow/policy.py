"""Selections as episodes of m steps: drawing them, their probability, and the loss that rewards them.

Shapes: N episodes, U prompts, m steps. `allowed`, (N, U) of booleans, says which prompts an episode may show;
`picks`, (N, m), holds places in 0 .. U - 1, and `STOPPED` once an episode stopped or ran out of prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from personakit.pillow.network import STOPPED, MatchingNetwork, TowerPool

Algorithm = Literal["reinforce", "ppo"]


@dataclass(frozen=True, slots=True)
class SelectionLikelihood:
    """Of given selections, by step: log-probabilities and entropies in nats, and whether there was a choice.

    All (N, m); the first two are 0 where there was none.
    """

    log_probabilities: torch.Tensor
    entropies: torch.Tensor
    chose: torch.Tensor


def draw(
    network: MatchingNetwork,
    asked: torch.Tensor,
    pool: TowerPool,
    allowed: torch.Tensor,
    *,
    m: int | None = None,
    uniforms: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return picks, (N, m): the best at each step, or, with `uniforms`, (N, m, U + 1), drawn by probability.

    `m` is by default what the network was built for.

    `asked`, (N, width), is as the encoder gives it. One number in [0, 1) for
    each prompt and STOP makes a draw (Gumbel's), whatever else stands in the batch.
    """
    with torch.inference_mode():
        walk = _Walk(network, asked, pool, allowed)
        for step in range(m or network.shape.m):
            scores = walk.scores(step)
            if uniforms is not None:
                noise = uniforms[:, step, : scores.shape[1]].clamp(1e-12, 1 - 1e-7)
                scores = scores - (-noise.log()).log()
            walk.take(scores.argmax(-1))
        return torch.stack(walk.picks, dim=1).clone()


def likelihood(
    network: MatchingNetwork,
    asked: torch.Tensor,
    pool: TowerPool,
    allowed: torch.Tensor,
    picks: torch.Tensor,
) -> SelectionLikelihood:
    """Return how likely the network makes these picks, with a gradient."""
    walk = _Walk(network, asked, pool, allowed)
    logs, entropies, chose = [], [], []
    for step in range(network.shape.m):
        log_p = walk.scores(step).log_softmax(-1)
        open_, stopped = walk.open.clone(), picks[:, step] == STOPPED
        place = picks[:, step].masked_fill(stopped, log_p.shape[1] - 1)
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
    """Return the scalar to descend on; `advantages` and PPO's `before`, of whole selections, are (N,).

    REINFORCE: its gradient is an unbiased estimate of that of minus the expected reward. PPO: the clipped
    surrogate of one terminal reward (gamma 1, so all steps of an episode have one advantage), of whole
    selections and without a critic: the other selections of an instruction are the baseline. Less
    `entropy_bonus` times the mean entropy of a choice, in nats.
    """
    whole = now.log_probabilities.sum(1)
    if algorithm == "ppo":
        assert before is not None
        ratio = (whole - before).exp()
        gained = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    else:
        gained = advantages.detach() * whole
    return -gained.mean() - entropy_bonus * now.entropies.sum() / now.chose.sum().clamp(min=1)


class _Walk:
    """One step after another through all episodes at once; padding and STOP are told apart here alone."""

    def __init__(
        self, network: MatchingNetwork, asked: torch.Tensor, pool: TowerPool, allowed: torch.Tensor
    ) -> None:
        self._network = network
        self._asked, self._pool = network.normal(asked), pool
        self._allowed = allowed.clone()
        self._sum = torch.zeros_like(self._asked)
        self._taken = 0
        self.open = allowed.any(-1)
        self.picks: list[torch.Tensor] = []

    def scores(self, step: int) -> torch.Tensor:
        """Return the masked scores of step `step`; a closed episode's mean nothing."""
        shown = self._sum / max(1, self._taken)
        scores = self._network.logits(self._asked, shown, step, self._pool.towered)
        may = self._allowed
        if self._network.stop is not None:
            may = torch.cat([may, torch.ones_like(may[:, :1])], dim=1)
        # Where nothing is left to pick, anything may stand: `open` says that it does not count.
        return scores.masked_fill(~(may | ~self.open[:, None]), -torch.inf)

    def take(self, places: torch.Tensor) -> None:
        """Go on with `places`, (N,), of prompts or, after them, STOP."""
        many = self._allowed.shape[1]
        picked = self.open & (places < many)
        self.picks.append(torch.where(picked, places, STOPPED))
        safe = places.clamp(max=many - 1)
        self._sum = self._sum + torch.where(picked[:, None], self._pool.normal[safe], 0.0)
        self._taken += 1
        self._allowed = self._allowed.scatter(
            1, safe[:, None], self._allowed.gather(1, safe[:, None]) & ~picked[:, None]
        )
        self.open = picked & self._allowed.any(-1)
