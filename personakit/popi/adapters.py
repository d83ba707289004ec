"""One frozen base model with two LoRA adapters: `inference` writes summaries, `generator` answers.

A third, frozen adapter holds the initial inference model for the KL penalty. Switching adapters copies no
weights. PEFT's `set_adapter` also changes `requires_grad`: it disables it for the previous adapter and
enables it for the new one, even a frozen one, and gradients of disabled weights are silently dropped.
Therefore the trainable adapters are set again after each switch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from personakit.models.adapters import load_adapter
from personakit.models.environment import suppress_peft_warnings

INFERENCE = "inference"
GENERATOR = "generator"
START = "start"
"""The initial inference model."""
BASE = "base"
"""The base model without an adapter."""

Role = Literal["inference", "generator"]
ROLES: tuple[Role, Role] = ("inference", "generator")


def add_adapters(
    network: Any,
    config: Any,
    *,
    warm: Mapping[Role, Path],
    keep_start: bool,
    trained: Sequence[Role],
    seed: int,
) -> Any:
    """Add the adapters to `network`, a causal language model; return the `PeftModel`.

    `config` is the PEFT configuration of new adapters, `warm` has the folders of trained ones to start from.
    A new adapter has no effect yet, so without a warm start the initial inference model is the base: no
    `START` adapter is kept (`active_adapter` with `START` then disables all adapters). `seed` determines the
    initial weights.
    """
    import copy

    import torch
    from peft import get_peft_model

    with suppress_peft_warnings(), torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any = None
        for role in ROLES:
            folder = warm.get(role)
            if folder is None and model is None:
                model = get_peft_model(network, copy.deepcopy(config), adapter_name=role)
            elif folder is None:
                model.add_adapter(role, copy.deepcopy(config))
            else:
                model = load_adapter(network if model is None else model, folder, name=role, trainable=True)
        if keep_start and INFERENCE in warm:
            model = load_adapter(model, warm["inference"], name=START)
    model.set_adapter(INFERENCE)
    set_trainable(model, trained)
    return model


def set_trainable(model: Any, roles: Sequence[str]) -> None:
    """Enable gradients for these adapters only."""
    for name in model.peft_config:
        model.set_requires_grad(name, name in roles)


def adapter_weights(model: Any, name: str) -> list[Any]:
    """Return the parameters of one adapter, in the order of the model."""
    # PEFT's parameter names contain the adapter's: ...q_proj.lora_A.<name>.weight
    return [weight for key, weight in model.named_parameters() if f".{name}." in key]


@contextlib.contextmanager
def active_adapter(model: Any, name: str, *, trained: Sequence[str]) -> Iterator[None]:
    """Run the block with one adapter active; in it and afterwards, the adapters `trained` have gradients.

    `BASE` disables all adapters, and so does `START` if there is no such adapter.
    """
    disable = name == BASE or (name == START and START not in model.peft_config)
    if not disable:
        model.set_adapter(name)
    try:
        with model.disable_adapter() if disable else contextlib.nullcontext():
            set_trainable(model, trained)
            yield
    finally:
        set_trainable(model, trained)
