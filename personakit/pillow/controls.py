"""Baseline selectors (docs/methods.md), on PILLOW's encoder.

Random, nearest by cosine, and maximal marginal relevance (MMR) need only the pool. Greedy search and
best-of-k use the reward, which needs the *reference answer*: they are upper bounds, not methods.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from personakit.data.instructions.pools import check_pool
from personakit.pillow.encoding import FingerprintedEncoder, cached_vectors, instruction_text
from personakit.pillow.rewards import SelectionReward, ShownPrompts
from personakit.records import Instruction, Pool

Excluded = Sequence[frozenset[int]] | None

#: MMR's weight of relevance to the instruction against similarity to selected prompts; our choice.
MMR_LAMBDA = 0.7
#: Number of random selections of best-of-k.
BEST_OF = 16
_ROWS = 4096
"""Selections per call of the reward."""


class RandomSelector:
    """Selects `m` random prompts, determined by seed, instruction and pool."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def select(
        self, instructions: Sequence[Instruction], pool: Pool, m: int, *, excluded: Excluded = None
    ) -> list[tuple[int, ...]]:
        """Return each instruction's selections (`contracts.Selector`)."""
        check_pool(pool, "the pool", m)
        return [
            _drawn(each, pool, m, out, f"{self._seed}")
            for each, out in zip(instructions, _excluded_each(instructions, excluded), strict=True)
        ]


class NearestSelector:
    """Selects the `m` prompts with the highest cosine similarity; ties in the pool's order."""

    def __init__(self, encoder: FingerprintedEncoder) -> None:
        self._encoder = encoder

    def select(
        self, instructions: Sequence[Instruction], pool: Pool, m: int, *, excluded: Excluded = None
    ) -> list[tuple[int, ...]]:
        """Return each instruction's selection, nearest first (`contracts.Selector`)."""
        check_pool(pool, "the pool", m)
        similarity, _ = _similarities(self._encoder, instructions, pool)
        selections = []
        for row, out in zip(similarity, _excluded_each(instructions, excluded), strict=True):
            row[list(out)] = -np.inf
            best = np.argsort(-row, kind="stable")[: min(m, len(pool) - len(out))]
            selections.append(tuple(map(int, best)))
        return selections


class MMRSelector:
    """Selects by MMR: similar to the instruction, and dissimilar to the prompts already selected."""

    def __init__(self, encoder: FingerprintedEncoder, relevance_weight: float = MMR_LAMBDA) -> None:
        """`relevance_weight` weighs similarity to the instruction against that to selected prompts."""
        self._encoder, self._lambda = encoder, relevance_weight

    def select(
        self, instructions: Sequence[Instruction], pool: Pool, m: int, *, excluded: Excluded = None
    ) -> list[tuple[int, ...]]:
        """Return each instruction's selection, the nearest prompt first (`contracts.Selector`)."""
        check_pool(pool, "the pool", m)
        to_instruction, between = _similarities(self._encoder, instructions, pool)
        selections = []
        for row, out in zip(to_instruction, _excluded_each(instructions, excluded), strict=True):
            chosen: list[int] = []
            for _ in range(min(m, len(pool) - len(out))):
                redundancy = between[chosen].max(axis=0) if chosen else np.zeros(len(pool), np.float32)
                scores = self._lambda * row - (1 - self._lambda) * redundancy
                scores[[*out, *chosen]] = -np.inf
                chosen.append(int(scores.argmax()))
            selections.append(tuple(chosen))
        return selections


class GreedySelector:
    """Selects the prompt with the highest reward at each step: an upper bound of sequential policies."""

    def __init__(self, reward: SelectionReward) -> None:
        self._reward = reward

    def select(
        self, instructions: Sequence[Instruction], pool: Pool, m: int, *, excluded: Excluded = None
    ) -> list[tuple[int, ...]]:
        """Return each instruction's selections (`contracts.Selector`); its `output` is read."""
        check_pool(pool, "the pool", m)
        selections: list[tuple[int, ...]] = [()] * len(instructions)
        outs = _excluded_each(instructions, excluded)
        for _ in range(m):
            tried = [
                [(*had, place) for place in range(len(pool)) if place not in out and place not in had]
                for had, out in zip(selections, outs, strict=True)
            ]
            selections = _best(self._reward, instructions, pool, tried, selections)
        return selections


class BestOfSelector:
    """Selects the best of `k` random selections by reward: an upper bound without search."""

    def __init__(self, reward: SelectionReward, k: int = BEST_OF, seed: int = 0) -> None:
        self._reward, self._k, self._seed = reward, k, seed

    def select(
        self, instructions: Sequence[Instruction], pool: Pool, m: int, *, excluded: Excluded = None
    ) -> list[tuple[int, ...]]:
        """Return each instruction's selections (`contracts.Selector`); its `output` is read."""
        check_pool(pool, "the pool", m)
        tried = [
            list(dict.fromkeys(_drawn(each, pool, m, out, f"{self._seed}/{try_}") for try_ in range(self._k)))
            for each, out in zip(instructions, _excluded_each(instructions, excluded), strict=True)
        ]
        return _best(self._reward, instructions, pool, tried, [()] * len(instructions))


def _best(
    reward: SelectionReward,
    instructions: Sequence[Instruction],
    pool: Pool,
    tried: Sequence[Sequence[tuple[int, ...]]],
    otherwise: Sequence[tuple[int, ...]],
) -> list[tuple[int, ...]]:
    """Return each instruction's selection with the highest reward, the first of ties.

    `otherwise` has the results of instructions without any candidate selection.
    """
    rows = [
        ShownPrompts(instruction, tuple(pool.prompts[place] for place in each))
        for instruction, some in zip(instructions, tried, strict=True)
        for each in some
    ]
    rewards: list[float] = []
    for start in range(0, len(rows), _ROWS):
        rewards += reward(rows[start : start + _ROWS])
    found, at = [], 0
    for some, default in zip(tried, otherwise, strict=True):
        own = rewards[at : at + len(some)]
        at += len(some)
        found.append(some[int(np.argmax(own))] if some else default)
    return found


def _similarities(
    encoder: FingerprintedEncoder, instructions: Sequence[Instruction], pool: Pool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return cosine similarities of instructions and prompts, [N, U], and between prompts, [U, U]."""
    prompts = _unit(cached_vectors(encoder, [instruction_text(each) for each in pool.prompts]))
    query_vectors = _unit(encoder.encode([instruction_text(each) for each in instructions]))
    return query_vectors @ prompts.T, prompts @ prompts.T


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32, copy=False)
    return scaled


def _drawn(instruction: Instruction, pool: Pool, m: int, out: frozenset[int], stream: str) -> tuple[int, ...]:
    named = "\0".join((stream, pool.fingerprint, instruction.instruction, instruction.input))
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(named.encode()).digest()[:8], "big"))
    allowed = [place for place in range(len(pool)) if place not in out]
    return tuple(map(int, random.permutation(allowed)[:m]))


def _excluded_each(instructions: Sequence[Instruction], excluded: Excluded) -> Sequence[frozenset[int]]:
    return [frozenset()] * len(instructions) if excluded is None else excluded
