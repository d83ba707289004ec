"""Estimates the memory of a stage without loading a model (`--dry-run`).

Uses the model's configuration and the maximum lengths that the settings allow instead of the data's, so the
estimates are upper bounds of those at training time (`training.memory`). They are not calibrated on GPUs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from personakit.errors import UserError
from personakit.models.environment import silence_libraries
from personakit.models.model_files import load_config, locate
from personakit.models.open import resolve_model
from personakit.training.memory import MemoryEstimate
from personakit.training.precision import decide_precision


@dataclass(frozen=True, slots=True)
class StageMemory:
    """The memory of one stage on one device."""

    stage: str
    model: str
    device: str
    estimate: MemoryEstimate


def estimate_here_and_on_gpu(estimate: Callable[[str, str], Sequence[StageMemory]]) -> list[StageMemory]:
    """Return `estimate(device, dtype)` for this machine, and for a GPU if it has none."""
    here = decide_precision()
    found = list(estimate(here.device, here.dtype))
    return found if here.device == "cuda" else [*found, *estimate("cuda", "bfloat16")]


def cached_config(name: str) -> Any:
    """Return the configuration of the model `name`, or None if the model is not on this machine.

    Raises `UserError` if the configuration is unreadable or not of a causal language model.
    """
    silence_libraries()
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    place = locate(resolve_model(name))
    if not place.fingerprint:
        return None
    config = load_config(place.source, offline=place.offline)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(
            f'model "{place.source}" ({config.model_type}) is not a causal language model of transformers',
            hint="use a decoder-only model such as Llama, Qwen, Mistral or Gemma",
        )
    return config


def shares_prefixes(config: Any) -> bool:
    """Return True if the model supports computing a shared prompt once."""
    import torch
    from transformers import AutoModelForCausalLM

    from personakit.models.shared_prefix.check import obstacle

    with torch.device("meta"):
        return obstacle(AutoModelForCausalLM.from_config(copy.deepcopy(config))) is None
