"""Llama's forward pass for one prompt, with a LoRA adapter if there is one, without transformers and PEFT.

Importing those takes seconds, longer than a small model's whole answer (`benchmarks/cold_start.py`). The
operations are those of transformers' `LlamaForCausalLM` and PEFT's `lora.Linear`, in the same order and
number formats, and so are the modules' names.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from personakit.models.one_token import attend_one_token, is_one_low_token
from personakit.steps import Step


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Llama model, named as in its configuration."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    rms_norm_eps: float
    rope_theta: float
    tie_word_embeddings: bool


class Cache:
    """Keys and values of one row, (layers, 2, H', tokens, d), of which the first `length` tokens are set."""

    def __init__(self, shape: Shape, tokens: int, dtype: torch.dtype) -> None:
        size = (shape.num_hidden_layers, 2, shape.num_key_value_heads, tokens, shape.head_dim)
        self.states = torch.empty(size, dtype=dtype)
        self.length = 0

    def add(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Store (1, H', T, d) of the next T tokens; return those of all tokens so far."""
        until = self.length + key.shape[2]
        for states, new in zip(self.states[layer], (key, value), strict=True):
            states[:, self.length : until] = new[0]
        return self.states[layer, :1, :, :until], self.states[layer, 1:, :, :until]


class Adapted(torch.nn.Module):
    """A linear layer with LoRA (arXiv 2106.09685): W x + scaling B A x. As in PEFT, B A x is in float32."""

    def __init__(self, plain: torch.nn.Module, down: torch.Tensor, up: torch.Tensor, scaling: float) -> None:
        """`down` is A, (r, inputs), and `up` is B, (outputs, r)."""
        super().__init__()
        self.plain = plain
        self.scaling = scaling
        self.down, self.up = (torch.nn.Parameter(each.float(), requires_grad=False) for each in (down, up))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return (..., outputs) for (..., inputs), in the plain layer's dtype."""
        result: torch.Tensor = self.plain(states)
        low = functional.linear(states.to(self.down.dtype), self.down)
        return (result + functional.linear(low, self.up) * self.scaling).to(result.dtype)


class _Norm(torch.nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(shape.hidden_size))
        self.eps = shape.rms_norm_eps

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        wide = states.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(states.dtype)


class _Attention(torch.nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.size = shape.head_dim
        self.grouped = shape.num_attention_heads != shape.num_key_value_heads
        width, inner = shape.hidden_size, shape.num_attention_heads * shape.head_dim
        self.q_proj = _linear(width, inner)
        self.k_proj = _linear(width, shape.num_key_value_heads * shape.head_dim)
        self.v_proj = _linear(width, shape.num_key_value_heads * shape.head_dim)
        self.o_proj = _linear(inner, width)

    def forward(
        self, states: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor], cache: Cache, layer: int
    ) -> torch.Tensor:
        query, key, value = (
            project(states).view(1, states.shape[1], -1, self.size).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        key, value = cache.add(layer, _rotated(key, *rotation), value)
        query = _rotated(query, *rotation)
        if is_one_low_token(query, None):
            mixed, _ = attend_one_token(query, key, value, None, self.size**-0.5)
        else:
            mixed = functional.scaled_dot_product_attention(
                query, key, value, is_causal=query.shape[2] > 1, enable_gqa=self.grouped
            )
        result: torch.Tensor = self.o_proj(mixed.transpose(1, 2).reshape(*states.shape[:2], -1))
        return result


class _FeedForward(torch.nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = _linear(shape.hidden_size, shape.intermediate_size)
        self.up_proj = _linear(shape.hidden_size, shape.intermediate_size)
        self.down_proj = _linear(shape.intermediate_size, shape.hidden_size)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.down_proj(functional.silu(self.gate_proj(states)) * self.up_proj(states))
        return result


class _Layer(torch.nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = _Norm(shape), _Norm(shape)
        self.self_attn, self.mlp = _Attention(shape), _FeedForward(shape)

    def forward(
        self, states: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor], cache: Cache, layer: int
    ) -> torch.Tensor:
        states = states + self.self_attn(self.input_layernorm(states), rotation, cache, layer)
        result: torch.Tensor = states + self.mlp(self.post_attention_layernorm(states))
        return result


class _Body(torch.nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        # Without drawing numbers: on the meta device, that imports torch._dynamo, which takes a second.
        self.embed_tokens = torch.nn.Embedding(
            shape.vocab_size, shape.hidden_size, _weight=torch.empty(shape.vocab_size, shape.hidden_size)
        )
        self.layers = torch.nn.ModuleList(_Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = _Norm(shape)


class Llama(torch.nn.Module):
    """A Llama model that answers one prompt greedily on a CPU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = _Body(shape)
        self.lm_head = _linear(shape.hidden_size, shape.vocab_size)

    @torch.inference_mode()
    def generate(
        self,
        prompt: Sequence[int],
        *,
        max_new_tokens: int,
        end_ids: Collection[int],
        work: Step | None = None,
    ) -> list[int]:
        """Return the new token ids, without the end token. Computes in the order of `decoding.decode`."""
        dtype = self.model.embed_tokens.weight.dtype
        cache = Cache(self.shape, len(prompt) + max_new_tokens, dtype)
        if len(prompt) > 1:
            self.read(prompt[:-1], cache)
        token, answer = prompt[-1], list[int]()
        done_before = 0.0 if work is None else work.done
        for number in range(1, max_new_tokens + 1):
            token = int(self.lm_head(self.read([token], cache)).argmax())
            ended = token in end_ids
            if not ended:
                answer.append(token)
            if work is not None:
                work.update(done_before + (1 if ended else number / max_new_tokens), tokens=not ended)
            if ended:
                break
        return answer

    def read(self, tokens: Sequence[int], cache: Cache) -> torch.Tensor:
        """Return the hidden states (1, T, width) of the next tokens, and keep keys and values."""
        states = self.model.embed_tokens(torch.tensor([tokens]))
        size = self.shape.head_dim
        frequencies = 1.0 / (self.shape.rope_theta ** (torch.arange(0, size, 2, dtype=torch.float) / size))
        positions = torch.arange(cache.length, cache.length + len(tokens))
        angles = positions[:, None].float() * frequencies
        angles = torch.cat((angles, angles), dim=-1)
        rotation = angles.cos().to(states.dtype), angles.sin().to(states.dtype)
        for number, layer in enumerate(self.model.layers):
            states = layer(states, rotation, cache, number)
        cache.length += len(tokens)
        result: torch.Tensor = self.model.norm(states)
        return result


def empty_llama(shape: Shape) -> Llama:
    """Return a model without weights (on torch's meta device): `load_state_dict` with `assign=True`."""
    with torch.device("meta"):
        return Llama(shape)


def adapted(plain: Llama, weights: Mapping[str, tuple[torch.Tensor, torch.Tensor]], scaling: float) -> Llama:
    """Return `plain` with LoRA, by linear layer's name (A, B). The two share their weights."""
    leaves = [module for module in plain.modules() if not list(module.children())]
    model = copy.deepcopy(plain, {id(module): module for module in leaves})
    for name, (down, up) in weights.items():
        model.set_submodule(name, Adapted(plain.get_submodule(name), down, up, scaling))
    return model


def _linear(inputs: int, outputs: int) -> torch.nn.Module:
    return torch.nn.Linear(inputs, outputs, bias=False)


def _rotated(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = states.shape[-1] // 2
    turned = torch.cat((-states[..., half:], states[..., :half]), dim=-1)
    return states * cos + turned * sin
