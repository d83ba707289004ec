"""Tokenises prompts and answers, in the same way for training, generation and scoring.

Prompt and answer are tokenised separately and concatenated, so that the boundary at inference is the one of
training (joint tokenisation could merge across it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from personakit.models.reasoning import is_marker, remove_reasoning
from personakit.models.turns import AnswerTurn, answer_turn, has_template, opened_thought, render_prompt


def encode_prompts(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of each prompt.

    If the tokenizer has a chat template, the prompt becomes a user message followed by the generation prompt
    (`turns`). Otherwise it is tokenised with the tokenizer's special tokens.
    """
    if not prompts:
        return []
    if has_template(tokenizer):
        texts = [render_prompt(tokenizer, prompt) for prompt in prompts]
        ids = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    else:
        ids = tokenizer(list(prompts), return_attention_mask=False)["input_ids"]
        ids = [_without_final_end(tokenizer, row) for row in ids]
    return [list(row) for row in ids]


def encode_answers(tokenizer: Any, answers: Sequence[str]) -> list[list[int]]:
    """Return the token ids of each answer, as the assistant's turn after the prompt (`turns.answer_turn`).

    They include the token that ends the turn.
    """
    if not answers:
        return []
    turn = answer_turn(tokenizer)
    rows = _encode_turns(tokenizer, turn, [turn.as_rendered(answer) for answer in answers])
    return [[*row, *turn.end_ids] for row in rows]


def encode_continued(
    tokenizer: Any, begun: Sequence[str], rests: Sequence[str]
) -> tuple[list[list[int]], list[list[int]]]:
    """Return the token ids of answers in two parts: how they have begun, and the rest with the end.

    The parts are tokenised as one text, as an answer is in training. A token with characters of both belongs
    to the rest.
    """
    turn = answer_turn(tokenizer)
    starts = _encode_turns(tokenizer, turn, begun)
    wholes = encode_answers(tokenizer, [first + rest for first, rest in zip(begun, rests, strict=True)])
    firsts, others = [], []
    for start, whole in zip(starts, wholes, strict=True):
        pairs = enumerate(zip(start, whole, strict=False))
        shared = next((at for at, (ours, theirs) in pairs if ours != theirs), len(start))
        firsts.append(whole[:shared])
        others.append(whole[shared:])
    return firsts, others


def decode_answers(tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[str | None]:
    """Return the answer in each row of generated tokens, without reasoning and special tokens.

    None if the reasoning does not end: there is no answer.
    """
    added = getattr(tokenizer, "added_tokens_decoder", {})  # made anew at each access
    special = {index for index, token in added.items() if token.special}
    markers = {index for index in special if is_marker(added[index].content)}
    if markers:  # keep these, which some tokenizers (Mistral's, gpt-oss') count among the special tokens
        rows = [[index for index in row if index in markers or index not in special] for row in rows]
    texts = tokenizer.batch_decode(rows, skip_special_tokens=not markers, clean_up_tokenization_spaces=False)
    opened = opened_thought(tokenizer)
    return [remove_reasoning(text, opened=opened) for text in texts]


def cut_middle(ids: list[int], limit: int) -> list[int]:
    """Return at most `limit` tokens of `ids`: the first and last half, without the middle.

    Our prompts have instructions at both ends and the profile in the middle.
    """
    if len(ids) <= limit:
        return ids
    head = limit // 2
    return ids[:head] + ids[len(ids) - (limit - head) :]


def _encode_turns(tokenizer: Any, turn: AnswerTurn, texts: Sequence[str]) -> list[list[int]]:
    if not texts:
        return []
    rows = tokenizer(
        [f"{turn.anchor}{turn.lead}{text}" for text in texts],
        add_special_tokens=False,
        return_attention_mask=False,
    )["input_ids"]
    skipped = len(tokenizer(turn.anchor, add_special_tokens=False)["input_ids"]) if turn.anchor else 0
    return [list(row[skipped:]) for row in rows]


def _without_final_end(tokenizer: Any, row: list[int]) -> list[int]:
    # Some tokenizers (T5, some Llama conversions) append an end token to every text; the answer must follow.
    if len(row) > 1 and tokenizer.eos_token_id is not None and row[-1] == tokenizer.eos_token_id:
        return row[:-1]
    return row
