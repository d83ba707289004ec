"""How a prompt and an answer become tokens: once, for training, generation and scoring alike.

Prompt and answer are tokenised apart and joined, so that the model meets at inference exactly the
boundary it was trained on (a merge across it would differ).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def encode_prompts(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of each prompt.

    Where the tokenizer has a chat template, the prompt becomes one user message followed by the
    opening of the assistant's turn (thinking switched off where the template knows
    `enable_thinking`); else it is taken as it is, with the special tokens that the tokenizer adds.
    """
    if not prompts:
        return []
    if getattr(tokenizer, "chat_template", None):
        texts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,
            )
            for prompt in prompts
        ]
        ids = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    else:
        ids = tokenizer(list(prompts), return_attention_mask=False)["input_ids"]
        ids = [_without_final_end(tokenizer, row) for row in ids]
    return [list(row) for row in ids]


def encode_answers(tokenizer: Any, answers: Sequence[str]) -> list[list[int]]:
    """Return the token ids of each answer, the end-of-sequence token included."""
    if not answers:
        return []
    rows = tokenizer(list(answers), add_special_tokens=False, return_attention_mask=False)["input_ids"]
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return [[*row, *end] for row in rows]


def cut_middle(ids: list[int], limit: int) -> list[int]:
    """Return `ids` with at most `limit` tokens: the first and the last half stay, the middle goes.

    Instructions stand at either end of our prompts, and what stands between is the history.
    """
    if len(ids) <= limit:
        return ids
    head = limit // 2
    return ids[:head] + ids[len(ids) - (limit - head) :]


def _without_final_end(tokenizer: Any, row: list[int]) -> list[int]:
    # Some tokenizers (T5's, some Llama conversions) close every text: an answer must still follow.
    if len(row) > 1 and tokenizer.eos_token_id is not None and row[-1] == tokenizer.eos_token_id:
        return row[:-1]
    return row
