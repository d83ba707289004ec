"""Tokenises prompts and answers, in the same way for training, generation and scoring.

Prompt and answer are tokenised separately and concatenated, so that the boundary at inference is the one of
training (joint tokenisation could merge across it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def encode_prompts(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of each prompt.

    If the tokenizer has a chat template, the prompt becomes a user message followed by the generation prompt
    (without thinking if the template supports `enable_thinking`). Otherwise it is tokenised with the
    tokenizer's special tokens.
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
    """Return the token ids of each answer, including the end-of-sequence token."""
    if not answers:
        return []
    rows = tokenizer(list(answers), add_special_tokens=False, return_attention_mask=False)["input_ids"]
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return [[*row, *end] for row in rows]


def cut_middle(ids: list[int], limit: int) -> list[int]:
    """Return at most `limit` tokens of `ids`: the first and last half, without the middle.

    Our prompts have instructions at both ends and the profile in the middle.
    """
    if len(ids) <= limit:
        return ids
    head = limit // 2
    return ids[:head] + ids[len(ids) - (limit - head) :]


def _without_final_end(tokenizer: Any, row: list[int]) -> list[int]:
    # Some tokenizers (T5, some Llama conversions) append an end token to every text; the answer must follow.
    if len(row) > 1 and tokenizer.eos_token_id is not None and row[-1] == tokenizer.eos_token_id:
        return row[:-1]
    return row
