"""What `personakit train pillow` would need of a device's memory, said before a weight is loaded.

From the model's configuration alone, with the longest rows that the settings allow: upper bounds of what each
stage will estimate for itself (`training.memory`), and like those uncalibrated on GPUs.
"""

from __future__ import annotations

from personakit.config import TrainPILLOW
from personakit.models.local import BATCH_TOKENS
from personakit.training.memory import Workload, estimate_answering, estimate_memory
from personakit.training.stage_memory import StageMemory, shape_of


def estimate_stages(config: TrainPILLOW, device: str, dtype: str) -> list[StageMemory]:
    """Estimate each stage that loads a model, as it would run on one "cuda" or "cpu" in `dtype`."""
    shape = shape_of(config.model)
    if shape is None:
        return []
    found = []
    tuning, lora = config.tuning, config.lora
    if tuning.enabled:
        for stage, rank in (("LoRA", lora.rank), ("full fine-tuning", 0)):
            if stage == "LoRA" or config.controls.full_fine_tuning:
                work = Workload(
                    rows=tuning.batch_size,
                    length=tuning.max_length,
                    gradient_checkpointing=tuning.gradient_checkpointing,
                    lora_rank=rank,
                    lora_targets=lora.targets,
                    four_bit=lora.four_bit and rank > 0,
                    device=device,
                    dtype=dtype,
                )
                found.append(StageMemory(stage, config.model, device, estimate_memory(shape, work)))
    rewards = estimate_answering(shape, tokens=BATCH_TOKENS[device], device=device)
    return [*found, StageMemory("rewards", config.model, device, rewards)]
