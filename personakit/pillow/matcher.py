"""A trained matching network: its files, and the network as a `Selector`.

`matcher/` has `network.safetensors` and `matcher.json`: shape, encoder, and the fingerprint of the training
pool. A changed pool is an error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from personakit.data.instructions.pools import check_pool
from personakit.errors import UserError
from personakit.files import atomic_folder, json_text
from personakit.pillow.encoding import FingerprintedEncoder, cached_vectors, instruction_text
from personakit.pillow.network import EncodedPool, MatcherShape, MatchingNetwork
from personakit.pillow.policy import draw
from personakit.pillow.pool import pool_changed_error
from personakit.records import Instruction, Pool

WEIGHTS, FACTS = "network.safetensors", "matcher.json"
_BATCH = 256


@dataclass(frozen=True, slots=True)
class MatcherFacts:
    """The content of `matcher.json`; `pool` is None if each user has their own pool."""

    encoder: str
    encoder_fingerprint: str
    pool: str | None
    shape: MatcherShape


def save_matcher(network: MatchingNetwork, facts: MatcherFacts, folder: Path) -> None:
    """Write the network into the new `folder`, atomically."""
    from safetensors.torch import save_file

    document = {
        "encoder": facts.encoder,
        "encoder_fingerprint": facts.encoder_fingerprint,
        "pool": facts.pool,
        "network": network.facts(),
    }
    with atomic_folder(folder) as temporary:
        save_file(
            {name: each.contiguous() for name, each in network.state_dict().items()}, temporary / WEIGHTS
        )
        (temporary / FACTS).write_text(json_text(document, indent=2) + "\n", encoding="utf-8")


def load_matcher(folder: Path) -> tuple[MatchingNetwork, MatcherFacts]:
    """Load a network saved by `save_matcher`; raises `UserError` if it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        document: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        network = MatchingNetwork(MatcherShape(**document["network"]))
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(
            f'the matching network in "{folder}" cannot be loaded: {reason}', hint="train the run again"
        ) from error
    facts = MatcherFacts(
        document["encoder"], document["encoder_fingerprint"], document["pool"], network.shape
    )
    return network.eval(), facts


class Matcher:
    """A matching network and its encoder: a `Selector`.

    A pool's vectors are cached on disk, the latest pool's embeddings in memory.
    """

    def __init__(self, network: MatchingNetwork, encoder: FingerprintedEncoder, facts: MatcherFacts) -> None:
        """Raises `UserError` if the encoder differs from the one used in training."""
        if encoder.fingerprint != facts.encoder_fingerprint:
            raise UserError(
                f'the encoder "{facts.encoder}" has changed since the matching network was trained',
                hint="restore the encoder's files, or train again",
            )
        self._network, self._encoder, self._facts = network.eval(), encoder, facts
        self._held: tuple[str, EncodedPool] | None = None

    def select(
        self,
        instructions: Sequence[Instruction],
        pool: Pool,
        m: int,
        *,
        excluded: Sequence[frozenset[int]] | None = None,
    ) -> list[tuple[int, ...]]:
        """Return each instruction's selection, best first (`contracts.Selector`).

        `m` may differ from the training's: steps beyond that use the last step's encoding. Raises `UserError`
        for a pool that is too small or differs from the run's.
        """
        self._check(pool, m)
        embeddings = self.pool(pool)
        selections: list[tuple[int, ...]] = []
        for start in range(0, len(instructions), _BATCH):
            some = instructions[start : start + _BATCH]
            query_vectors = torch.from_numpy(self._encoder.encode([instruction_text(each) for each in some]))
            out = None if excluded is None else excluded[start : start + _BATCH]
            selections += self.match(query_vectors, embeddings, m, out)
        return selections

    def match(
        self,
        query_vectors: torch.Tensor,
        pool: EncodedPool,
        m: int,
        excluded: Sequence[frozenset[int]] | None = None,
    ) -> list[tuple[int, ...]]:
        """Return the selections for encoded instructions, (N, width)."""
        allowed = torch.ones(len(query_vectors), len(pool.normalized), dtype=torch.bool)
        for row, out in enumerate(excluded or ()):
            allowed[row, list(out)] = False
        rows = draw(self._network, query_vectors, pool, allowed, m=m).tolist()
        return [tuple(place for place in row if place >= 0) for row in rows]

    def _check(self, pool: Pool, m: int) -> None:
        if self._facts.pool is None:
            return  # a user's history may be empty, or shorter than m
        check_pool(pool, "the pool", m)
        if pool.fingerprint != self._facts.pool:
            raise pool_changed_error("the pool given", len(pool))

    def pool(self, pool: Pool) -> EncodedPool:
        """Return the pool's embeddings."""
        if self._held is None or self._held[0] != pool.fingerprint:
            kept = cached_vectors(self._encoder, [instruction_text(each) for each in pool.prompts])
            with torch.inference_mode():
                self._held = (pool.fingerprint, self._network.pool(torch.from_numpy(kept)))
        return self._held[1]
