"""Writes tiny GGUF files: a random Llama with a vocabulary of bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WIDTH, LAYERS, HEADS, KV_HEADS, HIDDEN = 64, 2, 4, 2, 96
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_gguf(path: Path, *, quantised: bool = True, without: str = "", architecture: str = "llama") -> Path:
    """Write a file with weights in Q8_0 or float32; tensors called `without` are left out."""
    import gguf
    from tokenizers import pre_tokenizers

    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "ab", "<|im_start|>", "<|im_end|>"]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(words)
    writer.add_token_types([1] * (len(words) - 2) + [3, 3])  # 3: control tokens
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(len(words) - 2)
    writer.add_eos_token_id(len(words) - 1)
    writer.add_pad_token_id(len(words) - 1)
    writer.add_chat_template(CHATML)
    drawn = np.random.default_rng(0)

    def tensor(name: str, *shape: int) -> None:
        if name == without:
            return
        values: NDArray[np.float32] = drawn.normal(scale=0.3, size=shape).astype(np.float32)
        if not quantised or len(shape) == 1:
            writer.add_tensor(name, values)
            return
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)

    tensor("token_embd.weight", len(words), WIDTH)
    tensor("output_norm.weight", WIDTH)
    for block in range(LAYERS):
        tensor(f"blk.{block}.attn_norm.weight", WIDTH)
        tensor(f"blk.{block}.ffn_norm.weight", WIDTH)
        tensor(f"blk.{block}.attn_q.weight", WIDTH, WIDTH)
        tensor(f"blk.{block}.attn_k.weight", WIDTH * KV_HEADS // HEADS, WIDTH)
        tensor(f"blk.{block}.attn_v.weight", WIDTH * KV_HEADS // HEADS, WIDTH)
        tensor(f"blk.{block}.attn_output.weight", WIDTH, WIDTH)
        tensor(f"blk.{block}.ffn_gate.weight", HIDDEN, WIDTH)
        tensor(f"blk.{block}.ffn_up.weight", HIDDEN, WIDTH)
        tensor(f"blk.{block}.ffn_down.weight", WIDTH, HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
