"""Decides which models can share prefixes: known obstacles, and a check against the dense pass."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace
from typing import Any

import torch

from personakit.models.shared_prefix.interface import NAME, cache_argument
from personakit.models.shared_prefix.sharing import Sharing

# Maximum relative difference of hidden states due to rounding, with a margin for deep models.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 6e-2, torch.float16: 1e-2}
# Names of the attention dropout in configurations.
_ATTENTION_DROPOUTS = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")
_SHARED_LENGTH, _OWN_LENGTHS, _DECODING_STEPS = 40, (9, 6), 2
# Errors of kernels, of missing compilers, and of models with an unexpected structure.
_FAILURES = (RuntimeError, TypeError, ValueError, LookupError, AttributeError)


def obstacle(causal: Any) -> str | None:
    """Return why a causal language model cannot share prefixes, or None."""
    body, config = causal.base_model, causal.config
    text = config.get_text_config()
    if config.is_encoder_decoder:
        return "it is an encoder-decoder"
    if not replaceable(causal):
        return "its body's forward cannot be replaced, or something else has (device_map?)"
    if not getattr(body, "_supports_attention_backend", False):
        return "its attention cannot be replaced"
    if text._attn_implementation not in ("sdpa", NAME):  # NAME: set by a model with the same config object
        return f'it was loaded with attn_implementation="{text._attn_implementation}", expected sdpa'
    kinds = set(getattr(text, "layer_types", None) or []) - {"full_attention", "sliding_attention"}
    if kinds:
        return f"it has layers of another kind than attention ({', '.join(sorted(kinds))})"
    positions = getattr(text, "max_position_embeddings", None)
    if positions is not None and positions < _SHARED_LENGTH + max(_OWN_LENGTHS):
        return f"its {positions} positions are too few to check it"
    return None


def replaceable(causal: Any) -> bool:
    """Return whether the model has a separate body whose forward has not been replaced."""
    return causal.base_model is not causal and "forward" not in causal.base_model.__dict__


def temporary_obstacle(body: Any) -> str | None:
    """Return why the model cannot share prefixes in its current state, or None."""
    text = body.config.get_text_config()
    if text._attn_implementation != NAME:
        return (
            f'running without shared prefixes, because its attention was set to "{text._attn_implementation}"'
        )
    if body.training and any(getattr(text, name, 0.0) for name in _ATTENTION_DROPOUTS):
        return "attention dropout is active: such batches run without shared prefixes"
    if body.training and getattr(body.get_input_embeddings(), "neftune_noise_alpha", None):
        return "NEFTune noise depends on the rows' length: such batches run without shared prefixes"
    if "peft" in sys.modules and _uses_per_row_adapters(body):
        return "batches with a different adapter per row run without shared prefixes"
    return None


def window(body: Any) -> int | None:
    """Return the sliding window of the body's layers, or None if all layers have full attention."""
    config = body.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    width = getattr(config, "sliding_window", None)
    if not width or getattr(config, "use_sliding_window", True) is False:
        return None
    return int(width) if kinds is None or "sliding_attention" in kinds else None


def compare(body: Any, sharing: Sharing) -> None:
    """Compare the shared passes with the dense pass on random rows, and disable sharing if they differ.

    In distributed training, all processes do this in the same call, their first.
    """
    was_training = [module for module in body.modules() if module.training]
    body.eval()
    handle = body.shared_prefix
    device = body.get_input_embeddings().weight.device.type
    name = type(body).__name__
    try:
        with torch.no_grad():
            # FlexAttention may fail on a GPU without a compiler; the mask backend works anywhere.
            for backend in (sharing.backend,) if sharing.backend or device != "cuda" else (None, "mask"):
                # Count the comparison's tokens separately from the user's.
                body.shared_prefix = replace(
                    handle, backend=backend, min_saved_states=0, min_saved_share=0.0, checked=True
                )
                sharing.backend, sharing.reason = backend, _disagreement(body)
                if sharing.reason is None:
                    break
                if backend is None and device == "cuda":
                    sharing.warn_once(
                        f"{name} uses the mask backend, because with FlexAttention {sharing.reason}"
                    )
            if sharing.reason is not None:
                sharing.warn_once(f"{name} runs without shared prefixes: {sharing.reason}")
            elif sharing.trims_last_layer and not body.shared_prefix.trims_last_layer:
                sharing.trims_last_layer = False
                sharing.warn_once(
                    f"{name} computes its last layer for all tokens: for some tokens only, it differs"
                )
    finally:
        body.shared_prefix = handle
        for module in was_training:
            module.training = True


def _disagreement(body: Any) -> str | None:
    """Return how the shared passes fail, or None. Disables `trims` if only the last layer fails."""
    device = body.get_input_embeddings().weight.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else body.dtype
    tolerance = _TOLERANCE.get(dtype, 1e-4)
    handle = body.shared_prefix
    trimmed, handle.trims_last_layer = handle.trims_last_layer, False
    try:
        differences = _differences(body)
    except _FAILURES as error:
        return f"it fails ({type(error).__name__}: {str(error).strip()[:200]})"
    for what, difference in differences.items():
        if not difference <= tolerance:
            return f"its shared {what} differs by {difference:.1e} from the dense hidden states"
    handle.trims_last_layer = trimmed
    handle.trims_last_layer = trimmed and _differences(body, only_needed=True)["pass"] <= tolerance
    return None


def _differences(body: Any, *, only_needed: bool = False) -> dict[str, float]:
    """Return relative differences of hidden states, for the packed pass, prefill and decoding steps."""
    from transformers.cache_utils import DynamicCache

    device = body.get_input_embeddings().weight.device
    generator = torch.Generator().manual_seed(0)
    vocabulary = body.config.get_text_config().vocab_size
    shared, *own_parts = (
        torch.randint(vocabulary, (length,), generator=generator)
        for length in (_SHARED_LENGTH, *_OWN_LENGTHS, _SHARED_LENGTH)
    )
    rows = [torch.cat([shared, own_parts[0]]), torch.cat([shared, own_parts[1]]), own_parts[2]]
    longest = max(len(row) for row in rows)
    ids = torch.stack([torch.nn.functional.pad(row, (longest - len(row), 0)) for row in rows]).to(device)
    mask = torch.stack([torch.arange(longest) >= longest - len(row) for row in rows]).long().to(device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    arguments = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    # Call `forward` directly, so that hooks on the body do not see the random rows.
    dense_pass = functools.partial(type(body).forward, body, use_cache=False)
    dense = dense_pass(**arguments).last_hidden_state
    if only_needed:
        needed = mask.bool() & (torch.arange(longest, device=device) >= longest - min(_OWN_LENGTHS) - 1)
        body.shared_prefix.output_positions = needed
        return {
            "pass": _difference(
                body.forward(**arguments, use_cache=False).last_hidden_state[0], dense[needed]
            )
        }
    real = mask.bool()
    packed = body.forward(**arguments, use_cache=False).last_hidden_state
    # Without position ids, a token's position is its column, unless the model counts it from the mask.
    without_positions = {"input_ids": ids, "attention_mask": mask}
    columns, dense_columns = (
        run(**without_positions).last_hidden_state
        for run in (functools.partial(body.forward, use_cache=False), dense_pass)
    )
    cache = DynamicCache(config=body.config)
    prompt = longest - _DECODING_STEPS
    parts = [
        body.forward(
            input_ids=ids[:, start:stop],
            attention_mask=mask[:, :stop],
            position_ids=positions[:, start:stop],
            use_cache=True,
            **{cache_argument(body): cache},
        ).last_hidden_state
        for start, stop in ((0, prompt), *((at, at + 1) for at in range(prompt, longest)))
    ]
    return {
        "pass": _difference(packed[real], dense[real]),
        "pass without positions": _difference(columns[real], dense_columns[real]),
        "decoding": _difference(torch.cat(parts, dim=1)[real], dense[real]),
    }


def _difference(states: torch.Tensor, dense: torch.Tensor) -> float:
    return float((states.double() - dense.double()).norm() / dense.double().norm())


def _uses_per_row_adapters(body: Any) -> bool:
    """Return whether PEFT treats rows differently.

    It may have an adapter per row (`adapter_names=`), a start position per row (aLoRA), or a task per row.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in body.modules():
        if BaseTunerLayer in type(module).__mro__:  # many times faster than isinstance of an abstract class
            # PEFT passes this to the layers by hooks that exist only during the call.
            return any(isinstance(hook, functools.partial) for hook in module._forward_pre_hooks.values())
    return False
