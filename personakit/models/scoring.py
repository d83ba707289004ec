"""Log-probabilities of given answers to given prompts, over one trie of all rows that begin alike.

Chosen and rejected after one prompt, many summaries against many pairs: what rows share is run once
(`shared_prefix`), and the head sees the answers' positions alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from personakit.models.batching import length_batches, prefix_batches
from personakit.models.decoding import pad
from personakit.models.shared_prefix import share_prefixes

# Bounds answer tokens x vocabulary of a batch: 2**28 float32 logits are 1 GB.
_LOGITS = 2**28


def score_rows(
    model: Any,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    *,
    pad_id: int,
    budget: int,
    max_rows: int,
) -> list[float]:
    """Return the log-probability of each answer's token ids after its prompt's, summed, in nats.

    At most `max_rows` rows and `budget` tokens are run at a time, shared ones counted once. `model` comes
    to share prefixes, if it can.
    """
    rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
    batches = prefix_batches(rows, [0] * len(rows), budget=budget, max_rows=max_rows)
    if batches is None:
        batches = length_batches([len(row) for row in rows], budget=budget, max_rows=max_rows)
    vocabulary = model.config.get_text_config().vocab_size
    scores = [0.0] * len(rows)
    for batch in batches:
        for piece in _pieces(batch, answers, max(1, _LOGITS // vocabulary)):
            sums = log_likelihoods(model, [prompts[i] for i in piece], [answers[i] for i in piece], pad_id)
            for index, value in zip(piece, sums, strict=True):
                scores[index] = value
    return scores


@torch.inference_mode()
def log_likelihoods(
    model: Any, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], pad_id: int
) -> list[float]:
    """Return the same for one batch."""
    sharing = share_prefixes(model)
    rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
    ids, mask = pad(rows, pad_id, model.device, right=True)
    first = torch.tensor([len(prompt) for prompt in prompts], device=model.device)[:, None]
    columns = torch.arange(ids.shape[1], device=model.device)
    predicts = ((columns >= first) & mask.bool())[:, 1:]  # the logits at t are those of the token at t + 1
    if sharing.installed:
        sharing.wanted = torch.nn.functional.pad(predicts, (0, 1))
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0]
    else:
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1][predicts]
    targets = ids[:, 1:][predicts]
    chosen = logits.float().gather(-1, targets[:, None]).squeeze(1) - logits.float().logsumexp(-1)
    of_row = predicts.nonzero()[:, 0]
    sums = chosen.new_zeros(len(rows), dtype=torch.double).index_add_(0, of_row, chosen.double())
    return [float(value) for value in sums]


def _pieces(batch: Sequence[int], answers: Sequence[Sequence[int]], most: int) -> list[list[int]]:
    """Cut a batch so that no piece has more than `most` answer tokens, but for a single row."""
    pieces: list[list[int]] = []
    held = 0
    for index in batch:
        held += len(answers[index])
        if not pieces or held > most:
            pieces.append([])
            held = len(answers[index])
        pieces[-1].append(index)
    return pieces
