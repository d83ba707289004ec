"""What else could pick prompts (docs/methods.md): each a `Selector` on PILLOW's own encoder.

Random, cosine's nearest, and maximal marginal relevance (MMR) need nothing but the pool. The greedy search
and best-of-k ask for the reward of the *reference answer*, so they are no methods but ceilings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from personakit.data.instructions.pools import check_pool
from personakit.pillow.encoding import KnownEncoder, kept_vectors, question
from personakit.pillow.rewards import SelectionReward, ShownPrompts
from personakit.records import Instruction, Pool

Excluded = Sequence[frozenset[int]] | None

#: MMR's weight of what is asked against what is shown already; our choice.
MMR_TRADE = 0.7
#: Selections tried by best-of-k.
BEST_OF = 16
_ROWS = 4096
"""Selections whose reward is asked for in one call."""


class RandomPicks:
    """`m` prompts by chance: of equal seeds, texts and pools the same."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def select(
        self, instructions: Sequence[Instruction], pool: Pool, m: int, *, excluded: Excluded = None
    ) -> list[tuple[int, ...]]:
        """Return each instruction's picks (`contracts.Selector`)."""
        check_pool(pool, "the pool", m)
        return [
            _drawn(each, pool, m, out, f"{self._seed}")
            for each, out in zip(instructions, _outs(instructions, excluded), strict=True)
        ]


class Nearest:
    """The `m` prompts nearest to the instruction by cosine; ties in the pool's order."""

    def __init__(self, encoder: KnownEncoder) -> None:
        self._encoder = encoder

    def select(
        self, instructions: Sequence[Instruction], pool: Pool, m: int, *, excluded: Excluded = None
    ) -> list[tuple[int, ...]]:
        """Return each instruction's picks, nearest first (`contracts.Selector`)."""
        check_pool(pool, "the pool", m)
        near, _ = _similarities(self._encoder, instructions, pool)
        picks = []
        for row, out in zip(near, _outs(instructions, excluded), strict=True):
            row[list(out)] = -np.inf
            best = np.argsort(-row, kind="stable")[: min(m, len(pool) - len(out))]
            picks.append(tuple(map(int, best)))
        return picks


class MarginalRelevance:
    """MMR: near to the instruction, and unlike what is shown already."""

    def __init__(self, encoder: KnownEncoder, trade: float = MMR_TRADE) -> None:
        """`trade` weighs nearness to the instruction, 1 - `trade` likeness to a prompt picked before."""
        self._encoder, self._trade = encoder, trade

    def select(
        self, instructions: Sequence[Instruction], pool: Pool, m: int, *, excluded: Excluded = None
    ) -> list[tuple[int, ...]]:
        """Return each instruction's picks, the first one the nearest (`contracts.Selector`)."""
        check_pool(pool, "the pool", m)
        near, alike = _similarities(self._encoder, instructions, pool)
        picks = []
        for row, out in zip(near, _outs(instructions, excluded), strict=True):
            chosen: list[int] = []
            barred = list(out)
            for _ in range(min(m, len(pool) - len(out))):
                shown = alike[chosen].max(axis=0) if chosen else np.zeros(len(pool), np.float32)
                worth = self._trade * row - (1 - self._trade) * shown
                worth[[*barred, *chosen]] = -np.inf
                chosen.append(int(worth.argmax()))
            picks.append(tuple(chosen))
        return picks


class Greedy:
    """At each step the prompt that pays most, given those picked: the ceiling a step-by-step policy has."""

    def __init__(self, reward: SelectionReward) -> None:
        self._reward = reward

    def select(
        self, instructions: Sequence[Instruction], pool: Pool, m: int, *, excluded: Excluded = None
    ) -> list[tuple[int, ...]]:
        """Return each instruction's picks (`contracts.Selector`); its `output` is read."""
        check_pool(pool, "the pool", m)
        picks: list[tuple[int, ...]] = [()] * len(instructions)
        outs = _outs(instructions, excluded)
        for _ in range(m):
            tried = [
                [(*had, place) for place in range(len(pool)) if place not in out and place not in had]
                for had, out in zip(picks, outs, strict=True)
            ]
            picks = _best(self._reward, instructions, pool, tried, picks)
        return picks


class BestOf:
    """Of `k` random selections the one that pays most: what the reward is worth without searching."""

    def __init__(self, reward: SelectionReward, k: int = BEST_OF, seed: int = 0) -> None:
        self._reward, self._k, self._seed = reward, k, seed

    def select(
        self, instructions: Sequence[Instruction], pool: Pool, m: int, *, excluded: Excluded = None
    ) -> list[tuple[int, ...]]:
        """Return each instruction's picks (`contracts.Selector`); its `output` is read."""
        check_pool(pool, "the pool", m)
        tried = [
            list(dict.fromkeys(_drawn(each, pool, m, out, f"{self._seed}/{try_}") for try_ in range(self._k)))
            for each, out in zip(instructions, _outs(instructions, excluded), strict=True)
        ]
        return _best(self._reward, instructions, pool, tried, [()] * len(instructions))


def _best(
    reward: SelectionReward,
    instructions: Sequence[Instruction],
    pool: Pool,
    tried: Sequence[Sequence[tuple[int, ...]]],
    otherwise: Sequence[tuple[int, ...]],
) -> list[tuple[int, ...]]:
    """The best paid of each instruction's selections; of equals the first; `otherwise`: there is none."""
    rows = [
        ShownPrompts(instruction, tuple(pool.prompts[place] for place in each))
        for instruction, some in zip(instructions, tried, strict=True)
        for each in some
    ]
    paid: list[float] = []
    for start in range(0, len(rows), _ROWS):
        paid += reward(rows[start : start + _ROWS])
    found, at = [], 0
    for some, had in zip(tried, otherwise, strict=True):
        own = paid[at : at + len(some)]
        at += len(some)
        found.append(some[int(np.argmax(own))] if some else had)
    return found


def _similarities(
    encoder: KnownEncoder, instructions: Sequence[Instruction], pool: Pool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines of instructions with prompts, shape [N, U], and of prompts with each other, [U, U]."""
    prompts = _unit(kept_vectors(encoder, [question(each) for each in pool.prompts]))
    asked = _unit(encoder.encode([question(each) for each in instructions]))
    return asked @ prompts.T, prompts @ prompts.T


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32, copy=False)
    return scaled


def _drawn(instruction: Instruction, pool: Pool, m: int, out: frozenset[int], stream: str) -> tuple[int, ...]:
    named = "\0".join((stream, pool.fingerprint, instruction.instruction, instruction.input))
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(named.encode()).digest()[:8], "big"))
    allowed = [place for place in range(len(pool)) if place not in out]
    return tuple(map(int, random.permutation(allowed)[:m]))


def _outs(instructions: Sequence[Instruction], excluded: Excluded) -> Sequence[frozenset[int]]:
    return [frozenset()] * len(instructions) if excluded is None else excluded
