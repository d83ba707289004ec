"""RL episodes of the matching network: instructions with the prompts that may be selected for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from personakit.pillow.encoding import FingerprintedEncoder, cached_vectors, instruction_text
from personakit.pillow.network import STOPPED
from personakit.pillow.rewards import ShownPrompts
from personakit.records import Instruction
from personakit.retrieval.encoders import Vectors

Selection = tuple[int, ...]


@dataclass(frozen=True)
class Episodes:
    """Instructions, all prompts, and for each instruction the indices of its allowed prompts.

    With a shared pool, all prompts but the excluded ones are allowed; with a pool per user, those of that
    pool. A batch contains the prompts that are allowed for any of its instructions.
    """

    instructions: tuple[Instruction, ...]
    prompts: tuple[Instruction, ...]
    allowed: tuple[NDArray[np.int64], ...]
    query_vectors: Vectors
    vectors: Vectors

    @classmethod
    def of_one_pool(
        cls,
        instructions: Sequence[Instruction],
        prompts: Sequence[Instruction],
        excluded: Sequence[frozenset[int]],
        encoder: FingerprintedEncoder,
    ) -> Episodes:
        """Return episodes with a shared pool; `excluded` are indices in it."""
        everything = np.arange(len(prompts))
        allowed = [np.setdiff1d(everything, sorted(out)) if out else everything for out in excluded]
        return cls._encoded(instructions, prompts, allowed, encoder)

    @classmethod
    def of_own_pools(
        cls,
        instructions: Sequence[Instruction],
        pools: Sequence[Sequence[Instruction]],
        excluded: Sequence[frozenset[int]],
        encoder: FingerprintedEncoder,
    ) -> Episodes:
        """Return episodes in which each instruction has its own pool; `excluded` are indices in that pool."""
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
        encoder: FingerprintedEncoder,
    ) -> Episodes:
        query_vectors = cached_vectors(encoder, [instruction_text(each) for each in instructions])
        vectors = cached_vectors(encoder, [instruction_text(each) for each in prompts])
        return cls(tuple(instructions), tuple(prompts), tuple(allowed), query_vectors, vectors)

    def __len__(self) -> int:
        return len(self.instructions)

    def batch(self, which: Sequence[int], times: int = 1) -> EpisodeBatch:
        """Return these instructions, each `times` times, with the prompts allowed for any of them."""
        union = np.unique(np.concatenate([self.allowed[place] for place in which]))
        rows = np.zeros((len(which), len(union)), dtype=bool)
        for row, place in enumerate(which):
            rows[row, np.searchsorted(union, self.allowed[place])] = True
        query_vectors = torch.from_numpy(self.query_vectors[list(which)]).repeat_interleave(times, 0)
        allowed = torch.from_numpy(rows).repeat_interleave(times, 0)
        return EpisodeBatch(query_vectors, torch.from_numpy(self.vectors[union]), allowed, union)

    def shown(self, which: Sequence[int], selections: Sequence[Selection]) -> list[ShownPrompts]:
        """Return the texts of the selections, `len(selections) / len(which)` for each instruction."""
        times = len(selections) // len(which)
        return [
            ShownPrompts(self.instructions[which[row // times]], tuple(self.prompts[place] for place in each))
            for row, each in enumerate(selections)
        ]


@dataclass(frozen=True, slots=True)
class EpisodeBatch:
    """N instructions and U prompts: `query_vectors` (N, width), `vectors` (U, width), `allowed` (N, U).

    `places`, (U,), are the prompts' indices among all prompts.
    """

    query_vectors: torch.Tensor
    vectors: torch.Tensor
    allowed: torch.Tensor
    places: NDArray[np.int64]

    def selected(self, selections: torch.Tensor) -> list[Selection]:
        """Convert `selections`, (N, m), from indices in the batch to indices among all prompts."""
        return [tuple(int(self.places[at]) for at in row if at != STOPPED) for row in selections.tolist()]
