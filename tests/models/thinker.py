"""A tiny model that reasons: its template opens `<think>`, and its weights fix what it says."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

WORDS = ("<eos>", "<unk>", "<user>", "<assistant>", "<think>", "perhaps", "2", "or", "3", "</think>", "5")
REASONS = ("<think>", "perhaps", "2", "or", "3", "</think>", "5", "<eos>")
TEMPLATE = (
    "{% for m in messages %}<user> {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}<assistant> <think>{% endif %}"
)


def make_thinker(folder: Path, *, says: Sequence[str] = REASONS, special: Sequence[str] = ()) -> Path:
    """Write a model whose next token depends on the last one: it goes through `says`.

    `special` are words that decoding drops as special tokens, as Mistral's tokenizer does with its tags.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<eos>",
        unk_token="<unk>",
        additional_special_tokens=list(special),
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=4096,
        eos_token_id=0,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(float(name.endswith("norm.weight")))
        for place in range(len(WORDS)):
            model.model.embed_tokens.weight[place, place] = 1
        for now, following in itertools.pairwise(says):
            model.lm_head.weight[WORDS.index(following), WORDS.index(now)] = 5
    model.save_pretrained(folder)
    return folder
