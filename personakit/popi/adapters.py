"""One frozen base with two LoRA adapters on it: `inference` writes summaries, `generator` answers.

A third, frozen, keeps what the inference model began as, for the KL divergence from it. Switching between
them costs no weights and no copy. PEFT's `set_adapter` also decides what trains: it takes the gradients of
the adapter it leaves, and gives them to the one it turns to, be it frozen or not. A gradient that arrives at
a weight which no longer asks for it is dropped without a word. So what trains is said anew after each switch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from personakit.models.environment import suppress_peft_warnings

INFERENCE = "inference"
GENERATOR = "generator"
START = "start"
"""The inference model as it was when training began."""
BASE = "base"
"""No adapter at all."""

Role = Literal["inference", "generator"]
ROLES: tuple[Role, Role] = ("inference", "generator")


def put_on(
    network: Any,
    config: Any,
    *,
    warm: Mapping[Role, Path],
    keep_start: bool,
    trained: Sequence[Role],
    seed: int,
) -> Any:
    """Put the adapters on `network`, a plain causal language model; return the `PeftModel`.

    `config` is PEFT's, of the new ones; where `warm` names a folder an adapter begins with what is in it. A
    new adapter does nothing yet, so that an inference model without a warm start began as the base: no
    `START` is kept then (`active` with `START` turns all adapters off). Its random half follows from `seed`.
    """
    import copy

    import torch
    from peft import PeftModel, get_peft_model

    with suppress_peft_warnings(), torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any = None
        for role in ROLES:
            folder = warm.get(role)
            if folder is None and model is None:
                model = get_peft_model(network, copy.deepcopy(config), adapter_name=role)
            elif folder is None:
                model.add_adapter(role, copy.deepcopy(config))
            elif model is None:
                model = PeftModel.from_pretrained(network, str(folder), adapter_name=role, is_trainable=True)
            else:
                model.load_adapter(str(folder), adapter_name=role, is_trainable=True)
        if keep_start and INFERENCE in warm:
            model.load_adapter(str(warm["inference"]), adapter_name=START, is_trainable=False)
    model.set_adapter(INFERENCE)
    let_train(model, trained)
    return model


def let_train(model: Any, roles: Sequence[str]) -> None:
    """Let these adapters have gradients, and no other weight."""
    for name in model.peft_config:
        model.set_requires_grad(name, name in roles)


def adapter_weights(model: Any, name: str) -> list[Any]:
    """Return the parameters of one adapter, in the order of the model."""
    # PEFT files them under the adapter's name: ...q_proj.lora_A.<name>.weight
    return [weight for key, weight in model.named_parameters() if f".{name}." in key]


@contextlib.contextmanager
def active(model: Any, name: str, *, trained: Sequence[str]) -> Iterator[None]:
    """Run the block with one adapter on; within it and after it, those in `trained` have gradients.

    `BASE` turns all of them off, and so does `START` where there is no such adapter.
    """
    alone = name == BASE or (name == START and START not in model.peft_config)
    if not alone:
        model.set_adapter(name)
    try:
        with model.disable_adapter() if alone else contextlib.nullcontext():
            let_train(model, trained)
            yield
    finally:
        let_train(model, trained)
