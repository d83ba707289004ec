"""Random models of a few thousand parameters, saved as plain transformers folders."""

from __future__ import annotations

import random
from pathlib import Path

from personakit.models.environment import hide_loading_bars

WORDS = [
    *["the", "cat", "sat", "on", "a", "mat", "red", "blue", "old", "house", "ran", "far", "away", "dog"],
    *(f"word{number}" for number in range(50)),
]
TEMPLATE = (
    "{% for message in messages %}<user> {{ message['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def make_tiny(
    folder: Path,
    *,
    seed: int = 0,
    window: int = 256,
    width: int = 32,
    chat: bool = False,
    kind: str = "llama",
) -> Path:
    """Write a random model and its tokenizer (a token a word), its logits spread: no ties."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        MistralConfig,
        MistralForCausalLM,
        PreTrainedTokenizerFast,
    )

    hide_loading_bars()
    vocabulary = ["<pad>", "<eos>", "<unk>", "<user>", "<assistant>", *WORDS]
    tokenizer = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(vocabulary)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    if chat:
        fast.chat_template = TEMPLATE
    shape = {
        "hidden_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 2 * width,
        "vocab_size": len(fast),
        "max_position_embeddings": window,
        "tie_word_embeddings": True,
        "initializer_range": 0.3,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 1,
    }
    torch.manual_seed(seed)
    if kind == "sliding":
        model = MistralForCausalLM(MistralConfig(**shape, sliding_window=8))
    else:
        model = LlamaForCausalLM(LlamaConfig(**shape))
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def sentences(count: int, *, seed: int = 0, longest: int = 20) -> list[str]:
    """Texts of 1 to `longest` words."""
    drawn = random.Random(seed)
    return [" ".join(drawn.choices(WORDS, k=drawn.randint(1, longest))) for _ in range(count)]
