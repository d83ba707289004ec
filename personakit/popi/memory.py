"""What `personakit train popi` would need of a device's memory, said before a weight is loaded."""

from __future__ import annotations

from personakit.config.train_popi import TrainPOPI
from personakit.training.memory import Workload, estimate_memory, shared_fraction
from personakit.training.stage_memory import StageMemory, cached_config, shares_prefixes


def estimate_stages(config: TrainPOPI, device: str, dtype: str) -> list[StageMemory]:
    """Estimate each stage as it would run on one "cuda" or "cpu" in `dtype`, with the device to itself.

    How long requests and answers are the settings do not say: an answer is taken to be half of max_length.
    Empty where the model's configuration is not at hand, a hub name that the hub did not answer for.
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
    """The generator's pass, the larger one: each summary of each user with all its pairs."""
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
