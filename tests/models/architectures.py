"""Tiny random models of the architectures in the shipped configurations, with their chat templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from personakit.models.nano import FOLDER as NANO

# As the published templates do for one user message; Qwen3's closes an empty thought where none is wanted.
_QWEN3 = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)
_LLAMA3 = (
    "<|begin_of_text|>{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{{ message.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)

_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_SMALL: dict[str, Any] = {
    "hidden_size": 64,  # four bits are scaled by 64 weights
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "max_position_embeddings": 4096,
}

_QWEN3_SIZES: dict[str, dict[str, Any]] = {
    "Qwen/Qwen3-8B": {"hidden_size": 4096, "num_hidden_layers": 36, "intermediate_size": 12288},
    "Qwen/Qwen3-4B": {"hidden_size": 2560, "num_hidden_layers": 36, "intermediate_size": 9728},
    "Qwen/Qwen3-1.7B": {"hidden_size": 2048, "num_hidden_layers": 28, "intermediate_size": 6144},
    "Qwen/Qwen3-0.6B": {"hidden_size": 1024, "num_hidden_layers": 28, "intermediate_size": 3072},
}


def real_config(name: str) -> Any:
    """The published configuration of a model on the hub, as far as memory depends on it, or None."""
    from transformers import LlamaConfig, Qwen3Config

    if name in _QWEN3_SIZES:
        return Qwen3Config(
            **_QWEN3_SIZES[name],
            num_attention_heads=32 if name.endswith(("8B", "4B")) else 16,
            num_key_value_heads=8,
            head_dim=128,
            vocab_size=151936,
            max_position_embeddings=40960,
            tie_word_embeddings=not name.endswith("8B"),
        )
    if name == "meta-llama/Llama-3.1-8B-Instruct":
        return LlamaConfig(
            hidden_size=4096,
            num_hidden_layers=32,
            intermediate_size=14336,
            num_attention_heads=32,
            num_key_value_heads=8,
            vocab_size=128256,
            max_position_embeddings=131072,
            tie_word_embeddings=False,
        )
    return None


def make_stand_in(name: str, folder: Path) -> Path:
    """Write a tiny random model in the place of the one called `name`, with nano's vocabulary.

    Raises `KeyError` for a name of an architecture that is not here: add it.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, Qwen3Config

    tokenizer = AutoTokenizer.from_pretrained(NANO)
    if name.startswith("Qwen/Qwen3-"):
        kind, template, end = Qwen3Config, _QWEN3, "<|im_end|>"
        marks = ["<|im_start|>", "<think>", "</think>"]
    elif name.startswith("meta-llama/Llama-3.1-"):
        kind, template, end = LlamaConfig, _LLAMA3, "<|eot_id|>"
        marks = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]
    elif name == "smollm2":
        kind, template, end, marks = LlamaConfig, _CHATML, "<|im_end|>", ["<|im_start|>"]
    elif name == "nano":
        kind, template, end, marks = LlamaConfig, None, tokenizer.eos_token, []
    else:
        raise KeyError(f"no tiny model stands in for {name}: add its architecture to {__file__}")
    tokenizer.add_special_tokens({"eos_token": end, "additional_special_tokens": marks})
    tokenizer.chat_template = template
    more = {"head_dim": 16} if kind is Qwen3Config else {}
    config = kind(
        **_SMALL,
        **more,
        vocab_size=len(tokenizer),
        tie_word_embeddings=getattr(real_config(name), "tie_word_embeddings", True),
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
