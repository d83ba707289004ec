"""Estimates the device memory of `personakit train rpo` before any weights are loaded."""

from __future__ import annotations

from personakit.config import TrainRPO
from personakit.models.local import BATCH_TOKENS
from personakit.models.open import is_endpoint
from personakit.models.stand_ins import split_name
from personakit.rpo.choices import needs_base
from personakit.rpo.rl_prompts import rewrite_tokens
from personakit.training.memory import (
    MemoryEstimate,
    Workload,
    estimate_inference,
    estimate_memory,
    shared_fraction,
)
from personakit.training.stage_memory import StageMemory, cached_config, shares_prefixes


def estimate_stages(config: TrainRPO, device: str, dtype: str) -> list[StageMemory]:
    """Estimate each stage that loads a model, on one "cuda" or "cpu" device in `dtype`.

    Each stage is assumed to have the device to itself. Models whose configuration is unavailable (endpoints,
    hub models while offline) are skipped. Raises `UserError` for an unknown model name.
    """
    found: list[StageMemory] = []

    def add(stage: str, model: str, estimate: MemoryEstimate) -> None:
        found.append(StageMemory(stage, model, device, estimate))

    stand_in = split_name(config.base)
    base = stand_in[0] if stand_in else config.base
    if needs_base(config) and not is_endpoint(base) and (shape := cached_config(base)) is not None:
        answering = estimate_inference(shape, tokens=BATCH_TOKENS[device], device=device)
        add("generic answers", config.base, answering)
    shape = cached_config(config.model)
    if shape is not None:
        if config.trajectories.writer == "own":
            explaining = estimate_inference(shape, tokens=BATCH_TOKENS[device], device=device)
            add("its own traces", config.model, explaining)
        add("SFT", config.model, estimate_memory(shape, _sft(config, device, dtype)))
        if config.stages == "all":
            work = _rl(config, device, dtype, shares_prefixes=shares_prefixes(shape))
            add("RL", config.model, estimate_memory(shape, work))
    return found


def _sft(config: TrainRPO, device: str, dtype: str) -> Workload:
    sft = config.sft
    return Workload(
        rows=sft.per_device_train_batch_size,
        length=sft.max_length,
        scored=min(config.trajectories.max_tokens, sft.max_length) + 1,
        gradient_checkpointing=sft.gradient_checkpointing,
        lora=config.lora,
        device=device,
        dtype=dtype,
    )


def _rl(config: TrainRPO, device: str, dtype: str, *, shares_prefixes: bool) -> Workload:
    rl, answer = config.rl, rewrite_tokens(config)
    rows, prompt = rl.per_device_train_batch_size, max(1, config.sft.max_length - answer)
    return Workload(
        rows=rows,
        length=prompt + answer,
        scored=answer + 1,
        gradient_checkpointing=rl.gradient_checkpointing,
        reference=bool(rl.beta) and config.lora.r == 0,
        decoded_rows=rows if rl.vllm_mode == "off" else 0,
        prefix_factor=shared_fraction(prompt, answer, rl.num_generations)
        if rl.shared_prefix and shares_prefixes
        else 1.0,
        lora=config.lora,
        device=device,
        dtype=dtype,
    )
