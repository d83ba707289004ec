"""What the matching network learns from: instructions, and the prompts that each may be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from personakit.pillow.encoding import KnownEncoder, kept_vectors, question
from personakit.pillow.network import STOPPED
from personakit.pillow.rewards import ShownPrompts
from personakit.records import Instruction
from personakit.retrieval.encoders import Vectors

Picks = tuple[int, ...]


@dataclass(frozen=True)
class Episodes:
    """Instructions, all prompts there are, and which of them each instruction may be shown, by place.

    One pool for all leaves out no more than `excluded`; where every user has a pool of their own, `allowed`
    is that pool's part of `prompts`. A batch sees the prompts that any of its instructions may be shown.
    """

    instructions: tuple[Instruction, ...]
    prompts: tuple[Instruction, ...]
    allowed: tuple[NDArray[np.int64], ...]
    asked: Vectors
    vectors: Vectors

    @classmethod
    def of_one_pool(
        cls,
        instructions: Sequence[Instruction],
        prompts: Sequence[Instruction],
        excluded: Sequence[frozenset[int]],
        encoder: KnownEncoder,
    ) -> Episodes:
        """Return episodes over one pool."""
        everything = np.arange(len(prompts))
        allowed = [np.setdiff1d(everything, sorted(out)) if out else everything for out in excluded]
        return cls._encoded(instructions, prompts, allowed, encoder)

    @classmethod
    def of_own_pools(
        cls,
        instructions: Sequence[Instruction],
        pools: Sequence[Sequence[Instruction]],
        excluded: Sequence[frozenset[int]],
        encoder: KnownEncoder,
    ) -> Episodes:
        """Return episodes in which each instruction has a pool of its own; `excluded` are places in that."""
        prompts: list[Instruction] = []
        allowed = []
        for pool, out in zip(pools, excluded, strict=True):
            allowed.append(
                np.array([len(prompts) + at for at in range(len(pool)) if at not in out], np.int64)
            )
            prompts += pool
        return cls._encoded(instructions, prompts, allowed, encoder)

    @classmethod
    def _encoded(
        cls,
        instructions: Sequence[Instruction],
        prompts: Sequence[Instruction],
        allowed: Sequence[NDArray[np.int64]],
        encoder: KnownEncoder,
    ) -> Episodes:
        asked = kept_vectors(encoder, [question(each) for each in instructions])
        vectors = kept_vectors(encoder, [question(each) for each in prompts])
        return cls(tuple(instructions), tuple(prompts), tuple(allowed), asked, vectors)

    def __len__(self) -> int:
        return len(self.instructions)

    def batch(self, which: Sequence[int], times: int = 1) -> EpisodeBatch:
        """Return these instructions, each `times` over, with the prompts that any of them may be shown."""
        union = np.unique(np.concatenate([self.allowed[place] for place in which]))
        rows = np.zeros((len(which), len(union)), dtype=bool)
        for row, place in enumerate(which):
            rows[row, np.searchsorted(union, self.allowed[place])] = True
        asked = torch.from_numpy(self.asked[list(which)]).repeat_interleave(times, 0)
        allowed = torch.from_numpy(rows).repeat_interleave(times, 0)
        return EpisodeBatch(asked, torch.from_numpy(self.vectors[union]), allowed, union)

    def shown(self, which: Sequence[int], picks: Sequence[Picks]) -> list[ShownPrompts]:
        """Return the texts of selections, `len(picks) / len(which)` of each instruction."""
        times = len(picks) // len(which)
        return [
            ShownPrompts(self.instructions[which[row // times]], tuple(self.prompts[place] for place in each))
            for row, each in enumerate(picks)
        ]


@dataclass(frozen=True, slots=True)
class EpisodeBatch:
    """Tensors of some instructions: `asked` (N, width), `vectors` (U, width), `allowed` (N, U).

    `places`, (U,), are those of the prompts among all there are.
    """

    asked: torch.Tensor
    vectors: torch.Tensor
    allowed: torch.Tensor
    places: NDArray[np.int64]

    def picked(self, picks: torch.Tensor) -> list[Picks]:
        """Return the places, among all prompts, of what was picked: `picks`, (N, m), are places in U."""
        return [tuple(int(self.places[at]) for at in row if at != STOPPED) for row in picks.tolist()]
