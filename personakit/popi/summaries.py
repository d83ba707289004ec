"""Summaries while training: sampled from the inference model, a group of them for each user.

At temperature 1 and without nucleus or penalties, so that log q, by which the gradient goes, is that of the
distribution they were sampled from. A summary that reaches the cap ends there: it is a sample of the capped
process, whose log q has no end of sequence in it, and the gradient stays exact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Summary:
    """One sampled summary."""

    text: str
    tokens: list[int]
    """As sampled; the end of sequence is among them unless the cap was reached."""
    capped: bool

    @property
    def empty(self) -> bool:
        """Whether it says nothing."""
        return not self.text.strip()


def sample_summaries(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    places: Sequence[str],
    *,
    group: int,
    cap: int,
    seed: int,
) -> list[list[Summary]]:
    """Return `group` summaries for each prompt, of at most `cap` tokens.

    `model` is in evaluation mode with its inference adapter on. Every summary draws from a stream of its own,
    named by the seed, the prompt's place in the whole training and its number in the group: the same
    summaries come after a resume, in whatever batch, but for rounding.
    """
    from personakit.models.decoding import decode

    end = int(tokenizer.eos_token_id)
    rows = decode(
        model,
        prompts,
        samples=group,
        max_new_tokens=cap,
        temperature=1.0,
        uniforms=_uniforms(places, group, cap, seed),
        end_ids=frozenset([end]),
        pad_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end,
    )
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    summaries = [
        # `decode` leaves the end out, so that a row of `cap` tokens is one that never came to it.
        Summary(text, row if len(row) == cap else [*row, end], capped=len(row) == cap)
        for row, text in zip(rows, texts, strict=True)
    ]
    return [summaries[at : at + group] for at in range(0, len(summaries), group)]


def _uniforms(places: Sequence[str], group: int, cap: int, seed: int) -> Any:
    import numpy
    import torch

    streams = []
    for place in places:
        for number in range(group):
            named = hashlib.sha256(f"{seed}\0summaries\0{place}\0{number}".encode()).digest()[:16]
            streams.append(numpy.random.default_rng(int.from_bytes(named, "big")).random(cap))
    return torch.from_numpy(numpy.stack(streams))
