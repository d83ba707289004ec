"""The protocols that connect the packages. A new method implements one or more of them.

`Selector` is used only in instruction tuning (PILLOW and its controls).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from personakit.records import Answer, Context, Instruction, Pool, Profile, Query


@runtime_checkable
class ContextProvider(Protocol):
    """Provides the context of a query: BM25, dense, recency, POPI's summary, PILLOW's matcher."""

    def context(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Context]:
        """Return one `Context` per (query, profile). Both sequences have the same length."""
        ...


@runtime_checkable
class Personalizer(Protocol):
    """Answers queries for users. It must not carry state from one user to the next."""

    def respond(self, queries: Sequence[Query], profiles: Sequence[Profile]) -> list[Answer]:
        """Return one `Answer` per (query, profile)."""
        ...

    def score(
        self, queries: Sequence[Query], profiles: Sequence[Profile], texts: Sequence[str]
    ) -> list[float]:
        """Return the log-probability of each text in nats, summed over tokens."""
        ...


@runtime_checkable
class LanguageModel(Protocol):
    """A language model: local weights or an endpoint."""

    def generate(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """Return `samples` completions per prompt. Temperature 0 is greedy.

        Completions are marked strings of `models.refusal` where the model refused (`Refusal`, usually empty),
        the request failed (`NoAnswer`, always empty), or the token limit ended the text (`Cut`).
        """
        ...

    def score(
        self, prompts: Sequence[str], completions: Sequence[str], *, begun: Sequence[str] | None = None
    ) -> list[float]:
        """Return log p(completion | prompt) in nats, summed over tokens.

        `begun` are texts with which the answers have begun; they are given like the prompts. Raises
        `UserError` if the model is an endpoint without log-probabilities.
        """
        ...

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens in `text` (an estimate for an endpoint)."""
        ...


@runtime_checkable
class Selector(Protocol):
    """Selects prompts from a pool: PILLOW's matching network, random, cosine, MMR, greedy oracle."""

    def select(
        self,
        instructions: Sequence[Instruction],
        pool: Pool,
        m: int,
        *,
        excluded: Sequence[frozenset[int]] | None = None,
    ) -> list[tuple[int, ...]]:
        """Return the selected indices into `pool.prompts` for each instruction, in selection order.

        At most `m` per instruction, without repeats; fewer if a selector learned to stop or if fewer are
        allowed. `excluded` holds, for each instruction, the indices that must not be selected (for example
        its own answer); None excludes nothing. The first selected prompt is the best match and comes last
        in the model's prompt, next to the instruction (`personakit.tasks.instructions`). Only an oracle may
        read an instruction's `output`.
        """
        ...
