"""Tiny random models of several families in double precision, and batches with common prefixes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import transformers

FAMILIES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Qwen3": {"head_dim": 16},
    "Mistral": {"sliding_window": None},
    "Phi": {},
    "Gemma": {"head_dim": 16},
    "Gemma3": {"head_dim": 16, "sliding_window": 256},
    "GPT2": {},
}
_SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 101,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def make(family: str = "Llama", *, double: bool = True, seed: int = 0, **settings: Any) -> Any:
    """Return a causal language model in evaluation mode; doubles are doubles everywhere in it."""
    config = getattr(transformers, f"{family}TextConfig" if family == "Gemma3" else f"{family}Config")
    shape = _SHAPE | FAMILIES.get(family, {}) | settings
    if family == "GPT2":
        shape |= {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 512, "n_inner": 48}
        shape = {
            k: v for k, v in shape.items() if k.startswith("n_") or k.endswith(("_id", "_size", "_range"))
        }
        shape |= dict.fromkeys(("attn_pdrop", "resid_pdrop", "embd_pdrop"), 0.0)
        del shape["hidden_size"], shape["intermediate_size"]
    torch.manual_seed(seed)
    kind = getattr(transformers, f"{family}LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM")
    model = kind(config(**shape)).eval()
    if double:
        model.double()
        _double_norms(model)
    return model


def pair(family: str = "Llama", **settings: Any) -> tuple[Any, Any]:
    """Return a model and a copy of it, to be shared."""
    model = make(family, **settings)
    return model, copy.deepcopy(model)


def _double_norms(model: torch.nn.Module) -> None:
    """Exchange transformers' RMS norms, which compute in float32, for PyTorch's."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if not type(child).__name__.endswith("RMSNorm"):
                continue
            offset = (
                1.0 if type(child).__name__.startswith("Gemma") else 0.0
            )  # Gemma's weights are off by one
            eps = getattr(child, "variance_epsilon", getattr(child, "eps", None))
            norm = torch.nn.RMSNorm(len(child.weight), eps=eps, dtype=torch.float64)
            norm.weight.data.copy_(child.weight.data + offset)
            setattr(module, name, norm)


def draw(count: int, seed: int) -> list[int]:
    """Return `count` token ids, never padding."""
    return torch.randint(3, 100, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def batch(rows: Sequence[Sequence[int]], side: str = "right") -> tuple[torch.Tensor, torch.Tensor]:
    """Return (B, T) token ids and mask, padded on one side."""
    width = max(1, *(len(row) for row in rows))
    ids, mask = (
        torch.zeros(len(rows), width, dtype=torch.long),
        torch.zeros(len(rows), width, dtype=torch.long),
    )
    for number, row in enumerate(rows):
        where = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        ids[number, where] = torch.tensor(row, dtype=torch.long)
        mask[number, where] = 1
    return ids, mask


def positions_of(mask: torch.Tensor) -> torch.Tensor:
    """Return what `generate` passes as position ids."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def nested() -> list[list[int]]:
    """Return shuffled rows over a trie three deep: identical rows, prefixes of rows, a row of its own."""
    a, b, c = draw(40, 1), draw(35, 2), draw(33, 3)
    tails = [draw(count, 10 + count) for count in (10, 13, 9, 3, 5, 4)]
    return [
        a + b + tails[2],
        c + tails[4],
        a + tails[0],
        a + b + c + tails[5],
        a + b,
        a + tails[1],
        a + b + c + tails[3],
        a + b + tails[2],
        a,
    ]


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the relative difference, in the Euclidean norm."""
    assert found.shape == expected.shape
    found, expected = found.detach(), expected.detach()
    return float((found.double() - expected.double()).norm() / expected.double().norm().clamp(min=1e-30))


def gradients(model: torch.nn.Module) -> torch.Tensor:
    """Return all gradients in one vector."""
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def log_probabilities(model: Any, ids: torch.Tensor, mask: torch.Tensor, **given: Any) -> torch.Tensor:
    """Return those of each token that follows a token."""
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False, **given).logits
    found = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return found[(mask[:, 1:] & mask[:, :-1]).bool()]
