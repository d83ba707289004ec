"""The matching network: two MLP towers whose dot product says how much a prompt will pay.

[P] One tower maps every prompt of the pool to a vector, the other maps the state, which is the instruction
and what was matched so far; dot products, then a softmax over the pool, m times. The rest is our choice:

- each tower is an MLP beside a linear map. The linear maps begin as one and the same rotation and the MLPs at
  zero, so that training starts from cosine similarity, and no prompt is out of reach;
- vectors are centred on what training saw, scaled to unit length; what was matched so far is the mean of its
  vectors, beside which step it is;
- prompts that were matched are masked; STOP, where it is wanted, is one more vector to match.

Shapes: N selections at a time, U prompts, `width` of the encoder's vectors, `size` of the towers' vectors.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import nn

STOPPED = -1
"""Stands in a selection's row where nothing was picked any more."""


@dataclass(frozen=True, slots=True)
class MatcherShape:
    """What a matching network is built from."""

    width: int
    m: int
    size: int = 128
    hidden: int = 128
    stop: bool = False


@dataclass(frozen=True, slots=True)
class TowerPool:
    """Prompts ready to be matched: `normal`, (U, width); `towered`, (U, size), with STOP (U + 1, size)."""

    normal: torch.Tensor
    towered: torch.Tensor


class MatchingNetwork(nn.Module):
    """Scores every prompt of a pool for a state."""

    centre: torch.Tensor

    def __init__(self, shape: MatcherShape, *, seed: int = 0) -> None:
        super().__init__()
        self.shape = shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.prompt_tower = _Tower(shape.width, shape.hidden, shape.size)
            self.state_tower = _Tower(2 * shape.width + shape.m, shape.hidden, shape.size)
            rotation = torch.empty(shape.size, shape.width)
            nn.init.orthogonal_(rotation)
            # Rows or columns of a rectangular one are orthogonal: lengths are kept on average.
            rotation *= max(1.0, (shape.width / shape.size) ** 0.5)
        with torch.no_grad():
            self.prompt_tower.linear.weight.copy_(rotation)
            self.state_tower.linear.weight.zero_()
            self.state_tower.linear.weight[:, : shape.width] = rotation
        self.log_scale = nn.Parameter(torch.tensor(1.0))
        self.stop = nn.Parameter(torch.zeros(shape.size)) if shape.stop else None
        self.register_buffer("centre", torch.zeros(shape.width))

    def settle(self, vectors: torch.Tensor) -> None:
        """Take the mean of `vectors`, (U, width), for the centre, once before training."""
        self.centre.copy_(vectors.mean(0))

    def normal(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return vectors, (..., width), centred and of unit length: what both towers see."""
        return nn.functional.normalize(vectors - self.centre, dim=-1)

    def pool(self, vectors: torch.Tensor) -> TowerPool:
        """Return prompts, (U, width) as the encoder gives them, ready to be matched."""
        normal = self.normal(vectors)
        towered = self.prompt_tower(normal)
        return TowerPool(normal, towered if self.stop is None else torch.cat([towered, self.stop[None]]))

    def logits(
        self, asked: torch.Tensor, shown: torch.Tensor, step: int, towered: torch.Tensor
    ) -> torch.Tensor:
        """Return scores, (N, U), with STOP (N, U + 1).

        `asked` and `shown`, (N, width), are the instruction's vector and the mean of what was matched so far,
        zeros at first; `towered` is what `pool` made.
        """
        steps = asked.new_zeros(len(asked), self.shape.m)
        steps[:, min(step, self.shape.m - 1)] = 1.0
        state = self.state_tower(torch.cat([asked, shown, steps], dim=-1))
        scores: torch.Tensor = self.log_scale.exp() * state @ towered.T
        return scores

    def facts(self) -> dict[str, int | bool]:
        """Return the shape as JSON."""
        return asdict(self.shape)


class _Tower(nn.Module):
    """An MLP with one hidden layer beside a linear map."""

    def __init__(self, width: int, hidden: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, size, bias=False)
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, size)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        towered: torch.Tensor = self.linear(vectors) + self.outer(nn.functional.gelu(self.inner(vectors)))
        return towered
