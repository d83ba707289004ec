"""Sampling of training summaries from the inference model, a group for each user.

Sampling uses temperature 1, no nucleus and no penalties, so that log q in the gradient is that of the
sampling distribution. A summary that reaches the length limit is a sample of the truncated process: its log q
has no end-of-sequence term, and the gradient stays exact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from personakit.steps import step


@dataclass(frozen=True, slots=True)
class Summary:
    """One sampled summary."""

    text: str
    tokens: list[int]
    """Sampled token ids, including the end of sequence unless the length limit was reached."""
    capped: bool

    @property
    def empty(self) -> bool:
        """Whether the text is blank."""
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
    """Return `group` summaries of at most `cap` tokens for each prompt.

    `model` must be in evaluation mode with its inference adapter active. Every summary has its own random
    stream, given by the seed, the prompt's `places` entry and its number in the group: a resumed run samples
    the same summaries, whatever the batch, up to rounding.
    """
    from personakit.models.decoding import decode
    from personakit.models.tokens import decode_answers
    from personakit.models.turns import end_tokens

    ends = frozenset(end_tokens(model, tokenizer))
    with step("summaries", group * len(prompts)) as work:
        rows = decode(
            model,
            prompts,
            samples=group,
            max_new_tokens=cap,
            temperature=1.0,
            uniforms=_uniforms(places, group, cap, seed),
            end_ids=ends,
            pad_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0,
            keep_end=True,
            work=work,
        )
    written = [row[:-1] if row[-1] in ends else row for row in rows]
    texts = [text or "" for text in decode_answers(tokenizer, written)]
    summaries = [
        Summary(text, row, capped=row[-1] not in ends) for row, text in zip(rows, texts, strict=True)
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
