"""Which models can share prefixes: known obstacles, and a comparison with the dense pass at first use."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from personakit.models.shared_prefix.interface import NAME

if TYPE_CHECKING:
    from personakit.models.shared_prefix.body import Sharing

# Largest relative difference of hidden states that rounding explains, with room for deep models.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 6e-2, torch.float16: 1e-2}
# What configurations call it.
_ATTENTION_DROPOUTS = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")
_SHARED, _OWN, _STEPS = 40, (9, 6), 2
# What a kernel raises, or its compiler, that is not there, and a model built in a way not foreseen.
_FAILURES = (RuntimeError, TypeError, ValueError, LookupError, AttributeError)


def obstacle(causal: Any) -> str | None:
    """Say why a causal language model cannot share prefixes, or None."""
    body, config = causal.base_model, causal.config
    text = config.get_text_config()
    if config.is_encoder_decoder:
        return "it is an encoder-decoder"
    if not replaceable(causal):
        return "its body's forward cannot be replaced, or something else has (device_map?)"
    if not getattr(body, "_supports_attention_backend", False):
        return "its attention cannot be replaced"
    if text._attn_implementation not in ("sdpa", NAME):  # NAME: of a model with the same config object
        return f'it was loaded with attn_implementation="{text._attn_implementation}", expected sdpa'
    kinds = set(getattr(text, "layer_types", None) or []) - {"full_attention", "sliding_attention"}
    if kinds:
        return f"it has layers of another kind than attention ({', '.join(sorted(kinds))})"
    positions = getattr(text, "max_position_embeddings", None)
    if positions is not None and positions < _SHARED + max(_OWN):
        return f"its {positions} positions are too few to check it"
    return None


def replaceable(causal: Any) -> bool:
    """Whether the model has a body of its own whose forward nobody has replaced."""
    return causal.base_model is not causal and "forward" not in causal.base_model.__dict__


def passing_obstacle(body: Any) -> str | None:
    """Say why the model as it stands for this call cannot share, or None."""
    text = body.config.get_text_config()
    if text._attn_implementation != NAME:
        return f'run as it is since its attention was set to "{text._attn_implementation}"'
    if body.training and any(getattr(text, name, 0.0) for name in _ATTENTION_DROPOUTS):
        return "dropout in the attention is active: such batches are run as they are"
    if body.training and getattr(body.get_input_embeddings(), "neftune_noise_alpha", None):
        return "NEFTune's noise depends on the rows' length: such batches are run as they are"
    if "peft" in sys.modules and _treats_rows_apart(body):
        return "batches with another adapter for each row are run as they are"
    return None


def window(body: Any) -> int | None:
    """Return the sliding window of the body's layers, or None where every layer sees all."""
    config = body.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    width = getattr(config, "sliding_window", None)
    if not width or getattr(config, "use_sliding_window", True) is False:
        return None
    return int(width) if kinds is None or "sliding_attention" in kinds else None


def compare(body: Any, sharing: Sharing) -> None:
    """Compare the shared passes with the dense one on made-up rows; where they differ, stop sharing.

    Every process of a distributed run comes here at the same call, its first.
    """
    was_training = [module for module in body.modules() if module.training]
    body.eval()
    trial = body.shared_prefix
    device = body.get_input_embeddings().weight.device.type
    name = type(body).__name__
    try:
        with torch.no_grad():
            # The compiled attention of a GPU may fail where its compiler is missing; a mask works anywhere.
            for way in (sharing.way,) if sharing.way or device != "cuda" else (None, "mask"):
                # The comparison's calls are not the user's: they count elsewhere.
                body.shared_prefix = replace(trial, way=way, least_spared=0, least_share=0.0, checked=True)
                sharing.way, sharing.reason = way, _disagreement(body)
                if sharing.reason is None:
                    break
                if way is None and device == "cuda":
                    sharing.tell(f"{name} attends by a mask: by FlexAttention, {sharing.reason}")
            if sharing.reason is not None:
                sharing.tell(f"{name} is run as it is: {sharing.reason}")
            elif sharing.trims and not body.shared_prefix.trims:
                sharing.trims = False
                sharing.tell(f"{name}'s last layer is run whole: run for some tokens alone, it differs")
    finally:
        body.shared_prefix = trial
        for module in was_training:
            module.training = True


def _disagreement(body: Any) -> str | None:
    """Say how the shared passes fail, or None; takes `trims` off where only the last layer does."""
    device = body.get_input_embeddings().weight.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else body.dtype
    tolerance = _TOLERANCE.get(dtype, 1e-4)
    trial = body.shared_prefix
    trims, trial.trims = trial.trims, False
    try:
        differences = _differences(body)
    except _FAILURES as error:
        return f"it fails ({type(error).__name__}: {str(error).strip()[:200]})"
    for what, difference in differences.items():
        if not difference <= tolerance:
            return f"its shared {what} is off by {difference:.1e} of the dense one's hidden states"
    trial.trims = trims
    trial.trims = trims and _differences(body, some=True)["pass"] <= tolerance
    return None


def _differences(body: Any, *, some: bool = False) -> dict[str, float]:
    """Relative differences of hidden states: of the packed pass, and of a prefill and steps after it."""
    from transformers.cache_utils import DynamicCache

    device = body.get_input_embeddings().weight.device
    generator = torch.Generator().manual_seed(0)
    vocabulary = body.config.get_text_config().vocab_size
    shared, *own = (
        torch.randint(vocabulary, (length,), generator=generator) for length in (_SHARED, *_OWN, _SHARED)
    )
    rows = [torch.cat([shared, own[0]]), torch.cat([shared, own[1]]), own[2]]
    longest = max(len(row) for row in rows)
    ids = torch.stack([torch.nn.functional.pad(row, (longest - len(row), 0)) for row in rows]).to(device)
    mask = torch.stack([torch.arange(longest) >= longest - len(row) for row in rows]).long().to(device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    given = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    # Their forward and not their call: hooks on the body are not to see made-up rows.
    dense_pass = functools.partial(type(body).forward, body, use_cache=False)
    dense = dense_pass(**given).last_hidden_state
    if some:
        wanted = mask.bool() & (torch.arange(longest, device=device) >= longest - min(_OWN) - 1)
        body.shared_prefix.wanted = wanted
        return {
            "pass": _difference(body.forward(**given, use_cache=False).last_hidden_state[0], dense[wanted])
        }
    real = mask.bool()
    packed = body.forward(**given, use_cache=False).last_hidden_state
    # Without positions a token's is its column - unless a model counts them from the mask.
    unplaced = {"input_ids": ids, "attention_mask": mask}
    columns, dense_columns = (
        run(**unplaced).last_hidden_state
        for run in (functools.partial(body.forward, use_cache=False), dense_pass)
    )
    cache = DynamicCache(config=body.config)
    prompt = longest - _STEPS
    parts = [
        body.forward(
            input_ids=ids[:, start:stop],
            attention_mask=mask[:, :stop],
            position_ids=positions[:, start:stop],
            past_key_values=cache,
            use_cache=True,
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


def _treats_rows_apart(body: Any) -> bool:
    """Whether PEFT is giving each row something of its own: an adapter (`adapter_names=`), a place where its
    adapter begins (aLoRA), a task.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in body.modules():
        if BaseTunerLayer in type(module).__mro__:  # many times faster than isinstance of an abstract class
            # PEFT tells the layers, for the length of the call, by a hook that holds it.
            return any(isinstance(hook, functools.partial) for hook in module._forward_pre_hooks.values())
    return False
