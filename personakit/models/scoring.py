"""Log-probabilities of given answers to given prompts, with common prefixes computed once.

For example chosen and rejected answers to one prompt, or many summaries for many pairs. The common prefixes
of rows are computed once (`shared_prefix`), and the LM head is applied to answer positions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from personakit.models.batching import length_batches, prefix_batches
from personakit.models.decoding import pad
from personakit.models.shared_prefix import share_prefixes
from personakit.steps import step

# Maximum answer tokens x vocabulary size of a batch: 2**28 float32 logits take 1 GB, and there are several
# copies. CPUs gain little from more than 2**26, and their heap would grow.
_LOGITS = {"cpu": 2**26}
_LOGITS_ELSEWHERE = 2**28


def score_rows(
    model: Any,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    *,
    pad_id: int,
    budget: int,
    max_rows: int,
) -> list[float]:
    """Return the log-probability of each answer's token ids given its prompt's, summed, in nats.

    Batches have at most `max_rows` rows and `budget` tokens, counting shared ones once. Prefix sharing is
    enabled on `model` if possible.
    """
    rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
    batches = prefix_batches(rows, [0] * len(rows), budget=budget, max_rows=max_rows)
    if batches is None:
        batches = length_batches([len(row) for row in rows], budget=budget, max_rows=max_rows)
    vocabulary = model.config.get_text_config().vocab_size
    logits = _LOGITS.get(model.device.type, _LOGITS_ELSEWHERE)
    scores = [0.0] * len(rows)
    with step("scoring", len(rows)) as work:
        for batch in batches:
            for piece in _pieces(batch, answers, max(1, logits // vocabulary)):
                sums = log_likelihoods(
                    model, [prompts[i] for i in piece], [answers[i] for i in piece], pad_id
                )
                for index, value in zip(piece, sums, strict=True):
                    scores[index] = value
                work.advance(len(piece), tokens=sum(len(rows[i]) for i in piece))
    return scores


@torch.inference_mode()
def log_likelihoods(
    model: Any, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], pad_id: int
) -> list[float]:
    """Return the log-probabilities for one batch."""
    sharing = share_prefixes(model)
    rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
    ids, mask = pad(rows, pad_id, model.device, right=True)
    first_target = torch.tensor([len(prompt) for prompt in prompts], device=model.device)[:, None]
    columns = torch.arange(ids.shape[1], device=model.device)
    is_target = ((columns >= first_target) & mask.bool())[:, 1:]  # logits at t predict the token at t + 1
    if sharing.installed:
        sharing.output_positions = torch.nn.functional.pad(is_target, (0, 1))
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0]
    else:
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1][is_target]
    targets = ids[:, 1:][is_target]
    chosen = logits.float().gather(-1, targets[:, None]).squeeze(1) - logits.float().logsumexp(-1)
    target_rows, chosen = is_target.nonzero()[:, 0].cpu(), chosen.cpu()  # MPS has no doubles
    sums = chosen.new_zeros(len(rows), dtype=torch.double).index_add_(0, target_rows, chosen.double())
    return [float(value) for value in sums]


def _pieces(batch: Sequence[int], answers: Sequence[Sequence[int]], max_tokens: int) -> list[list[int]]:
    """Split a batch into pieces of at most `most` answer tokens, or a single row."""
    pieces: list[list[int]] = []
    piece_tokens = 0
    for index in batch:
        piece_tokens += len(answers[index])
        if not pieces or piece_tokens > max_tokens:
            pieces.append([])
            piece_tokens = len(answers[index])
        pieces[-1].append(index)
    return pieces
