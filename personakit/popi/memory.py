"""Estimates the device memory of `personakit train popi` before any weights are loaded."""

from __future__ import annotations

from personakit.config.train_popi import TrainPOPI
from personakit.training.memory import Workload, estimate_memory, shared_fraction
from personakit.training.stage_memory import StageMemory, cached_config, shares_prefixes


def estimate_stages(config: TrainPOPI, device: str, dtype: str) -> list[StageMemory]:
    """Estimate each stage on one "cuda" or "cpu" device in `dtype`; each has the device to itself.

    The settings do not fix the lengths of queries and answers: an answer is assumed to take half of
    `max_length`.
    Empty if the model's configuration is unavailable (a hub model while offline).
    """
    shape = cached_config(config.model)
    if shape is None:
        return []
    works = {}
    if config.warm_start.enabled:
        works["warm start, inference"] = _warm(config, device, dtype, _summary_row(config), _summary(config))
        if config.warm_start.generator:
            works["warm start, generator"] = _warm(config, device, dtype, config.max_length, _answer(config))
    works["joint"] = _joint(config, device, dtype, shares=shares_prefixes(shape))
    return [
        StageMemory(stage, config.model, device, estimate_memory(shape, work))
        for stage, work in works.items()
    ]


def _warm(config: TrainPOPI, device: str, dtype: str, length: int, answer: int) -> Workload:
    return Workload(
        rows=config.warm_start.per_device_train_batch_size,
        length=length,
        scored=answer + 1,
        gradient_checkpointing=config.warm_start.gradient_checkpointing,
        lora=config.lora,
        device=device,
        dtype=dtype,
    )


def _joint(config: TrainPOPI, device: str, dtype: str, *, shares: bool) -> Workload:
    """The generator's forward and backward pass, the larger one: all summaries with all pairs."""
    joint, answer = config.joint, _answer(config)
    users = joint.per_device_train_batch_size
    summaries = users * (joint.generator_summaries or joint.num_summaries)
    return Workload(
        rows=2 * summaries * joint.num_pairs,
        length=config.max_length,
        scored=answer + 1,
        decoded_rows=users * joint.num_summaries,
        prefix_factor=(
            shared_fraction(config.max_length - answer, answer, 2) if joint.shared_prefix and shares else 1.0
        ),
        gradient_checkpointing=joint.gradient_checkpointing,
        lora=config.lora,
        device=device,
        dtype=dtype,
    )


def _summary(config: TrainPOPI) -> int:
    return config.joint.max_summary_tokens


def _summary_row(config: TrainPOPI) -> int:
    return config.data.signal_tokens + config.joint.max_summary_tokens


def _answer(config: TrainPOPI) -> int:
    return config.max_length // 2
