"""What a stage would need of a device's memory, said before a weight is loaded (`--dry-run`).

From the model's configuration alone: the longest rows that the settings allow stand for the data's, so the
figures are upper bounds of what each stage will estimate for itself (`training.memory`) - and like those
uncalibrated on GPUs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from personakit.errors import UserError
from personakit.models.environment import silence_libraries
from personakit.models.model_files import locate
from personakit.models.open import resolve_model
from personakit.training.memory import MemoryEstimate
from personakit.training.precision import decide_precision


@dataclass(frozen=True, slots=True)
class StageMemory:
    """One stage on one device."""

    stage: str
    model: str
    device: str
    estimate: MemoryEstimate


def here_and_on_a_gpu(estimate: Callable[[str, str], Sequence[StageMemory]]) -> list[StageMemory]:
    """Return what `estimate(device, dtype)` says of this machine, and, where it has no GPU, of one."""
    here = decide_precision()
    found = list(estimate(here.device, here.dtype))
    return found if here.device == "cuda" else [*found, *estimate("cuda", "bfloat16")]


def shape_of(name: str) -> Any:
    """Return the configuration of the model called `name`; None where it would have to be waited for.

    Raises `UserError` where it is not one of a causal language model.
    """
    silence_libraries()
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    place = locate(resolve_model(name))
    if not place.fingerprint:
        return None
    try:
        config = AutoConfig.from_pretrained(place.source, local_files_only=place.offline)
    except (OSError, ValueError) as error:
        raise UserError(
            f'model "{place.source}" has a config.json that transformers does not read',
            hint="check that it is whole, and that this version of transformers knows the model",
        ) from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(
            f'model "{place.source}" ({config.model_type}) is not a causal language model of transformers',
            hint="use a decoder-only model such as Llama, Qwen, Mistral or Gemma",
        )
    return config


def shares_prefixes(config: Any) -> bool:
    """Return whether rows of one prompt will have it computed once."""
    import torch
    from transformers import AutoModelForCausalLM

    from personakit.models.shared_prefix.check import obstacle

    with torch.device("meta"):
        return obstacle(AutoModelForCausalLM.from_config(copy.deepcopy(config))) is None
