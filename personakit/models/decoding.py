"""Decodes one batch with one KV cache, from which finished rows are removed.

This replaces `transformers.generate` for two reasons. Sampling uses one random stream per row, so that a
sampled answer depends only on (prompt, seed, sample) and not on the rest of the batch; `generate` uses one
global stream. Removing finished rows saves more time on a CPU than anything else for short answers
(`benchmarks/small_model.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from personakit.models.shared_prefix import share_prefixes
from personakit.models.shared_prefix.interface import cache_argument
from personakit.steps import Step

# Rows are removed once this share of the batch has finished: selecting rows copies the whole cache.
_ENDED_SHARE = 0.25


@torch.inference_mode()
def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    samples: int,
    max_new_tokens: int,
    temperature: float,
    uniforms: torch.Tensor | None,
    end_ids: frozenset[int],
    pad_id: int,
    keep_end: bool = False,
    work: Step | None = None,
) -> list[list[int]]:
    """Return the new token ids of each row: `len(prompts) * samples` rows.

    The end token is included if `keep_end`; a row that reaches `max_new_tokens` has none.

    Row `i * samples + j` is sample `j` of prompt `i`. `uniforms` (rows x max_new_tokens, in [0, 1)) are the
    random numbers for inverse-CDF sampling, unused with temperature 0. Common prefixes of prompts are
    computed once, and all samples of a prompt share one copy of its cache (`shared_prefix`). Rows and tokens
    are reported to `work` at every step; an unfinished row counts by its share of `max_new_tokens`.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    device = model.device
    cache = DynamicCache(config=model.config)
    # Prefill everything but each row's last token. With right padding, a causal model needs no mask here,
    # which is faster; later steps mask the padding in the cache. Sliding windows count positions in the
    # cache, and recurrent layers process padding, so these models need left padding.
    right = all(type(layer) is DynamicLayer for layer in cache.layers)
    ids, mask = pad([row[:-1] for row in prompts], pad_id, device, right=right)
    position = mask.sum(-1, keepdim=True)  # of the next input token
    tokens = torch.tensor([row[-1] for row in prompts], device=device)
    sharing = share_prefixes(model)
    # Equal rows are computed once and share one copy of their prompt.
    early = samples > 1 and right and sharing.reason is None
    if early:
        ids, tokens, mask, position = (t.repeat_interleave(samples, 0) for t in (ids, tokens, mask, position))
    if ids.shape[1]:
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        if sharing.reason is None and right:
            # Only the cache is needed; request a single hidden state.
            sharing.output_positions = torch.zeros_like(mask, dtype=torch.bool)
            sharing.output_positions[0, 0] = True
        _last_logits(model, ids, None if right and sharing.reason is not None else mask, positions, cache)
    if samples > 1 and not early:
        cache.batch_repeat_interleave(samples)
        tokens, mask, position = (t.repeat_interleave(samples, 0) for t in (tokens, mask, position))
    rows = len(prompts) * samples
    alive = torch.arange(rows, device=device)  # the answer that each row of the batch extends; -1: finished
    answers: list[list[int]] = [[] for _ in range(rows)]
    ends = torch.tensor(sorted(end_ids), device=device)

    done_before = 0.0 if work is None else work.done

    for step in range(max_new_tokens):
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        logits = _last_logits(model, tokens[:, None], mask, position, cache)
        tokens = _choose(logits, temperature, None if uniforms is None else uniforms[alive.cpu(), step])
        position = position + 1
        ended = torch.isin(tokens, ends) | (alive < 0)
        for row, token, end in zip(alive.tolist(), tokens.tolist(), ended.tolist(), strict=True):
            if not end or (keep_end and row >= 0):
                answers[row].append(token)
        alive = torch.where(ended, -1, alive)
        kept = (alive >= 0).nonzero().squeeze(1)
        if work is not None:
            unfinished = len(kept) * (1 - (step + 1) / max_new_tokens)
            work.update(done_before + rows - unfinished, tokens=len(kept))
        if len(kept) == 0:
            break
        if len(kept) <= (1 - _ENDED_SHARE) * len(alive):
            cache.batch_select_indices(kept)
            alive, tokens, mask, position = alive[kept], tokens[kept], mask[kept], position[kept]
    return answers


def pad(
    rows: Sequence[Sequence[int]], pad_id: int, device: torch.device, *, right: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (ids, mask), each of shape [rows, longest], padded on the right or left."""
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for index, row in enumerate(rows):
        start = 0 if right else longest - len(row)
        ids[index, start : start + len(row)] = torch.tensor(row, dtype=torch.long)
        mask[index, start : start + len(row)] = 1
    return ids.to(device), mask.to(device)


def _last_logits(
    model: Any,
    input_ids: torch.Tensor,
    mask: torch.Tensor | None,
    positions: torch.Tensor,
    cache: Any,
) -> torch.Tensor:
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    output = model(
        input_ids=input_ids,
        attention_mask=mask,
        position_ids=positions,
        use_cache=True,
        logits_to_keep=1,
        **{cache_argument(causal): cache},
    )
    logits: torch.Tensor = output.logits[:, -1]
    return logits


def _choose(logits: torch.Tensor, temperature: float, draws: torch.Tensor | None) -> torch.Tensor:
    if temperature == 0 or draws is None:
        return logits.argmax(-1)
    cumulated = torch.softmax(logits.float() / temperature, dim=-1).cumsum(-1)
    # Scaled by the last entry, which may deviate from 1 by rounding. `right` never selects probability 0.
    targets = draws[:, None].to(cumulated) * cumulated[:, -1:]
    chosen = torch.searchsorted(cumulated, targets, right=True).squeeze(1)
    return chosen.clamp(max=logits.shape[-1] - 1)
