"""A trained matching network that picks: on disk beside its run's pool, and as a `Selector`.

`matcher/` holds `network.safetensors` and `matcher.json`: shape, encoder, and the fingerprint of the pool
that it was trained on. A pool that changed since is refused.
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
from personakit.files import atomic_folder
from personakit.pillow.encoding import KnownEncoder, kept_vectors, question
from personakit.pillow.network import MatcherShape, MatchingNetwork, TowerPool
from personakit.pillow.policy import draw
from personakit.pillow.pool import changed
from personakit.records import Instruction, Pool

WEIGHTS, FACTS = "network.safetensors", "matcher.json"
_BATCH = 256


@dataclass(frozen=True, slots=True)
class MatcherFacts:
    """What `matcher.json` says; `pool` is None where each user has a pool of their own."""

    encoder: str
    encoder_fingerprint: str
    pool: str | None
    shape: MatcherShape


def save_matcher(network: MatchingNetwork, facts: MatcherFacts, folder: Path) -> None:
    """Write the network into the new `folder`, whole or not at all."""
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
        (temporary / FACTS).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def load_matcher(folder: Path) -> tuple[MatchingNetwork, MatcherFacts]:
    """Load what `save_matcher` wrote; raises `UserError` where it is damaged or not there."""
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
    """A matching network and the encoder whose vectors it knows: a `Selector`.

    A pool's vectors are computed once and kept on disk; what the tower makes of them is kept in memory, for
    the pool asked last.
    """

    def __init__(self, network: MatchingNetwork, encoder: KnownEncoder, facts: MatcherFacts) -> None:
        """Take what was loaded; raises `UserError` where the encoder is another than in training."""
        if encoder.fingerprint != facts.encoder_fingerprint:
            raise UserError(
                f'the encoder "{facts.encoder}" has changed since the matching network was trained',
                hint="put the encoder's files back as they were, or train the run again",
            )
        self._network, self._encoder, self._facts = network.eval(), encoder, facts
        self._held: tuple[str, TowerPool] | None = None

    def select(
        self,
        instructions: Sequence[Instruction],
        pool: Pool,
        m: int,
        *,
        excluded: Sequence[frozenset[int]] | None = None,
    ) -> list[tuple[int, ...]]:
        """Return the prompts that the network matches, best first (`contracts.Selector`).

        `m` may be smaller than the network was trained for, or larger: the steps beyond see the last one's
        number. Raises `UserError` for a pool that is too small or not the run's own.
        """
        self._check(pool, m)
        towered = self.pool(pool)
        picks: list[tuple[int, ...]] = []
        for start in range(0, len(instructions), _BATCH):
            some = instructions[start : start + _BATCH]
            asked = torch.from_numpy(self._encoder.encode([question(each) for each in some]))
            out = None if excluded is None else excluded[start : start + _BATCH]
            picks += self.match(asked, towered, m, out)
        return picks

    def match(
        self,
        asked: torch.Tensor,
        pool: TowerPool,
        m: int,
        excluded: Sequence[frozenset[int]] | None = None,
    ) -> list[tuple[int, ...]]:
        """Return the picks for encoded instructions, (N, width)."""
        allowed = torch.ones(len(asked), len(pool.normal), dtype=torch.bool)
        for row, out in enumerate(excluded or ()):
            allowed[row, list(out)] = False
        rows = draw(self._network, asked, pool, allowed, m=m).tolist()
        return [tuple(place for place in row if place >= 0) for row in rows]

    def _check(self, pool: Pool, m: int) -> None:
        if self._facts.pool is None:
            return  # a user's history may be empty, or shorter than m
        check_pool(pool, "the pool", m)
        if pool.fingerprint != self._facts.pool:
            raise changed("the pool given", len(pool))

    def pool(self, pool: Pool) -> TowerPool:
        """Return a pool ready to be matched."""
        if self._held is None or self._held[0] != pool.fingerprint:
            kept = kept_vectors(self._encoder, [question(each) for each in pool.prompts])
            with torch.inference_mode():
                self._held = (pool.fingerprint, self._network.pool(torch.from_numpy(kept)))
        return self._held[1]
