"""Tokenises prompts and answers, in the same way for training, generation and scoring.

Prompt and answer are tokenised separately and concatenated, so that the boundary at inference is the one of
training (joint tokenisation could merge across it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from personakit.models.reasoning import NO_THINKING, closing_tag, is_marker, remove_reasoning


def encode_prompts(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of each prompt.

    If the tokenizer has a chat template, the prompt becomes a user message followed by the generation prompt
    (without thinking if the template supports it). Otherwise it is tokenised with the
    tokenizer's special tokens.
    """
    if not prompts:
        return []
    if getattr(tokenizer, "chat_template", None):
        texts = [_rendered(tokenizer, prompt) for prompt in prompts]
        ids = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    else:
        ids = tokenizer(list(prompts), return_attention_mask=False)["input_ids"]
        ids = [_without_final_end(tokenizer, row) for row in ids]
    return [list(row) for row in ids]


def encode_answers(tokenizer: Any, answers: Sequence[str]) -> list[list[int]]:
    """Return the token ids of each answer, including the end-of-sequence token.

    If the chat template opens a block of reasoning, the answer closes it first.
    """
    if not answers:
        return []
    closing = _closing_tag(tokenizer)
    texts = [f"{closing}\n\n{answer}" if closing else answer for answer in answers]
    rows = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return [[*row, *end] for row in rows]


def decode_answers(tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[str | None]:
    """Return the answer in each row of generated tokens, without reasoning and special tokens.

    None if the reasoning does not end: there is no answer.
    """
    special = {
        index for index, token in getattr(tokenizer, "added_tokens_decoder", {}).items() if token.special
    }
    markers = {index for index in special if is_marker(tokenizer.added_tokens_decoder[index].content)}
    if markers:  # keep these, which some tokenizers (Mistral's, gpt-oss') count among the special tokens
        rows = [[index for index in row if index in markers or index not in special] for row in rows]
    texts = tokenizer.batch_decode(rows, skip_special_tokens=not markers, clean_up_tokenization_spaces=False)
    opened = bool(_closing_tag(tokenizer))
    return [remove_reasoning(text, opened=opened) for text in texts]


def cut_middle(ids: list[int], limit: int) -> list[int]:
    """Return at most `limit` tokens of `ids`: the first and last half, without the middle.

    Our prompts have instructions at both ends and the profile in the middle.
    """
    if len(ids) <= limit:
        return ids
    head = limit // 2
    return ids[:head] + ids[len(ids) - (limit - head) :]


def _rendered(tokenizer: Any, prompt: str) -> str:
    text: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True, **NO_THINKING
    )
    return text


def _closing_tag(tokenizer: Any) -> str:
    """Return the tag that ends the reasoning which the chat template opens, "" if it opens none."""
    return closing_tag(_rendered(tokenizer, "a")) if getattr(tokenizer, "chat_template", None) else ""


def _without_final_end(tokenizer: Any, row: list[int]) -> list[int]:
    # Some tokenizers (T5, some Llama conversions) append an end token to every text; the answer must follow.
    if len(row) > 1 and tokenizer.eos_token_id is not None and row[-1] == tokenizer.eos_token_id:
        return row[:-1]
    return row
