"""The matching network: two MLP towers whose dot product scores a prompt.

From the paper: one tower embeds every prompt of the pool, the other the state (the instruction and the
prompts selected so far). A softmax over the dot products selects a prompt, m times. The rest is our choice:

- each tower is the sum of an MLP and a linear map. Both linear maps start as the same rotation and the MLPs
  at zero, so that training starts from cosine similarity;
- vectors are centred on the training prompts and scaled to unit length; the state has the mean vector of the
  selected prompts and the one-hot step;
- selected prompts are masked; STOP, if enabled, is one more embedding to select.

Shapes: N selections in parallel, U prompts, encoder vectors of `width`, embeddings of `size`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import nn

STOPPED = -1
"""Marks the steps of a selection after it stopped."""


@dataclass(frozen=True, slots=True)
class MatcherShape:
    """The dimensions of a matching network."""

    width: int
    m: int
    size: int = 128
    hidden: int = 128
    stop: bool = False


@dataclass(frozen=True, slots=True)
class EncodedPool:
    """A pool's normalised vectors, (U, width), and embeddings, (U, size), or (U + 1, size) with STOP."""

    normalized: torch.Tensor
    embeddings: torch.Tensor


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
            # Rows or columns of a rectangular matrix are orthogonal: keep lengths on average.
            rotation *= max(1.0, (shape.width / shape.size) ** 0.5)
        with torch.no_grad():
            self.prompt_tower.linear.weight.copy_(rotation)
            self.state_tower.linear.weight.zero_()
            self.state_tower.linear.weight[:, : shape.width] = rotation
        self.log_scale = nn.Parameter(torch.tensor(1.0))
        self.stop = nn.Parameter(torch.zeros(shape.size)) if shape.stop else None
        self.register_buffer("centre", torch.zeros(shape.width))

    def set_centre(self, vectors: torch.Tensor) -> None:
        """Set the centre to the mean of `vectors`, (U, width), once before training."""
        self.centre.copy_(vectors.mean(0))

    def normalized(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return vectors, (..., width), centred and scaled to unit length: the towers' input."""
        return nn.functional.normalize(vectors - self.centre, dim=-1)

    def pool(self, vectors: torch.Tensor) -> EncodedPool:
        """Embed prompts, given as encoder vectors (U, width)."""
        normalized = self.normalized(vectors)
        embeddings = self.prompt_tower(normalized)
        return EncodedPool(
            normalized, embeddings if self.stop is None else torch.cat([embeddings, self.stop[None]])
        )

    def logits(
        self, query_vectors: torch.Tensor, shown: torch.Tensor, step: int, embeddings: torch.Tensor
    ) -> torch.Tensor:
        """Return scores, (N, U), with STOP (N, U + 1).

        `query_vectors` and `shown`, (N, width), are the normalised instruction vector and the mean of the
        selected prompts' vectors, initially zeros; `embeddings` are the pool's embeddings.
        """
        steps = query_vectors.new_zeros(len(query_vectors), self.shape.m)
        steps[:, min(step, self.shape.m - 1)] = 1.0
        state = self.state_tower(torch.cat([query_vectors, shown, steps], dim=-1))
        scores: torch.Tensor = self.log_scale.exp() * state @ embeddings.T
        return scores

    def facts(self) -> dict[str, int | bool]:
        """Return the shape as JSON."""
        return asdict(self.shape)


class _Tower(nn.Module):
    """The sum of an MLP with one hidden layer and a linear map."""

    def __init__(self, width: int, hidden: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, size, bias=False)
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, size)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        embeddings: torch.Tensor = self.linear(vectors) + self.outer(nn.functional.gelu(self.inner(vectors)))
        return embeddings
