"""Estimates the device memory of `personakit train pillow` before any weights are loaded.

The estimates use the model's configuration and the longest rows that the settings allow. They are upper
bounds of each stage's own estimate (`training.memory`) and, like those, not calibrated on GPUs.
"""

from __future__ import annotations

from personakit.config import TrainPILLOW
from personakit.config.training import no_lora
from personakit.models.local import BATCH_TOKENS
from personakit.training.memory import Workload, estimate_inference, estimate_memory
from personakit.training.stage_memory import StageMemory, cached_config


def estimate_stages(config: TrainPILLOW, device: str, dtype: str) -> list[StageMemory]:
    """Estimate each stage that loads a model, on one "cuda" or "cpu" device in `dtype`."""
    shape = cached_config(config.model)
    if shape is None:
        return []
    found = []
    tuning, adapters = config.tuning, {"LoRA": config.lora}
    if config.controls.full_fine_tuning:
        adapters["full fine-tuning"] = no_lora()
    for stage, lora in adapters.items() if tuning.enabled else ():
        work = Workload(
            rows=tuning.per_device_train_batch_size,
            length=tuning.max_length,
            gradient_checkpointing=tuning.gradient_checkpointing,
            lora=lora,
            device=device,
            dtype=dtype,
        )
        found.append(StageMemory(stage, config.model, device, estimate_memory(shape, work)))
    rewards = estimate_inference(shape, tokens=BATCH_TOKENS[device], device=device)
    return [*found, StageMemory("rewards", config.model, device, rewards)]
