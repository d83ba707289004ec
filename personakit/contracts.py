"""The contracts that hold the house together: a new method needs no more than these.

`Selector` is one of instruction tuning alone (PILLOW and its controls); the other three are everyone's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from personakit.records import Answer, Context, Instruction, Pool, Profile, Query


@runtime_checkable
class ContextProvider(Protocol):
    """Chooses what a model is told about a user: BM25, dense, recency, POPI's summary, PILLOW's matcher."""

    def context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Context]:
        """Return one `Context` per (query, profile); the two sequences run in parallel."""
        ...


@runtime_checkable
class Personalizer(Protocol):
    """Answers queries for users. No state may travel from one user to the next."""

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return one `Answer` per (query, profile)."""
        ...

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return the log-probability (nats, summed over tokens) of each given text."""
        ...


@runtime_checkable
class LanguageModel(Protocol):
    """A model behind one name: local weights or an endpoint."""

    def generate(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """Return `samples` completions per prompt; temperature 0 is greedy.

        One that a server refused is a `models.refusal.Refusal`, whose text is mostly empty.
        """
        ...

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Return log p(completion | prompt) in nats, summed over tokens.

        Raises `UserError` where the model is a black box that cannot tell.
        """
        ...

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens `text` has for this model (an estimate for a black box)."""
        ...


@runtime_checkable
class Selector(Protocol):
    """Picks prompts from a pool: PILLOW's matching network, random, cosine, MMR, a greedy oracle."""

    def select(
        self,
        instructions: Sequence[Instruction],
        pool: Pool,
        m: int,
        *,
        kept_out: Sequence[frozenset[int]] | None = None,
    ) -> list[tuple[int, ...]]:
        """Return each instruction's picks: places in `pool.prompts`, in the order they were made.

        At most `m` each, none twice; fewer where a selector learned to stop, or where fewer are allowed.
        `kept_out` names, for each instruction, the places that it must not be shown (its own answer); None
        keeps nothing out. The first pick is the best match and stands next to the instruction, last in the
        prompt (`personakit.tasks.instructions`). Only an oracle may read an instruction's `output`.
        """
        ...
