"""Warns if a stage will not fit into memory, and suggests remedies after running out of memory."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from personakit.errors import RunError
from personakit.models.available_memory import available_memory, format_gb
from personakit.training.memory import MemoryEstimate, Workload, estimate_memory
from personakit.training.run import Run


def plan_memory(config: Any, workload: Workload, run: Run, stage: str) -> MemoryEstimate:
    """Estimate the memory, record it and the available memory in run.json, and warn on stderr if it does not
    fit.

    Call it before the weights are on the device.
    """
    estimate, free = estimate_memory(config, workload), available_memory(workload.device)
    # Processes on CPUs share the machine's memory; each process has its own GPU.
    needed = estimate.total * (workload.devices if workload.device == "cpu" else 1)
    record = dict(run.facts.get("memory", {}))
    record[stage] = asdict(estimate) | {"total": estimate.total, "available": free}
    run.record(memory=record)
    if needed > free and run.writes:
        print(
            f'warning: stage "{stage}" will need about {format_gb(needed)}, but {format_gb(free)} are free: '
            f"{first_remedy(workload)}",
            file=sys.stderr,
        )
    return estimate


@contextlib.contextmanager
def out_of_memory(workload: Workload, stage: str) -> Iterator[None]:
    """Turn an out-of-memory error in the block into a `RunError` that lists remedies in order.

    Recognizes the errors of CUDA, of torch's CPU allocator, and of Python.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        request = _failed_request(error)
        if request is None:
            raise
        free = format_gb(available_memory(workload.device))
        place = "the GPU" if workload.device == "cuda" else "this machine"
        raise RunError(
            f'stage "{stage}" ran out of memory on {place}: {request}, and {free} are free '
            f"({workload.rows} rows of up to {workload.length} tokens at a time)",
            hint=", then ".join(_remedies(workload)),
        ) from error


def first_remedy(workload: Workload) -> str:
    """Return the first remedy as text."""
    return _remedies(workload)[0]


def _remedies(work: Workload) -> list[str]:
    """Return the remaining remedies, cheapest first."""
    levers = []
    if work.rows > 1:
        levers.append(
            "lower per_device_train_batch_size (raise gradient_accumulation_steps to keep the global batch)"
        )
    if not work.gradient_checkpointing:
        levers.append("set gradient_checkpointing=true (about a third slower)")
    if work.decoded_rows > 1:
        levers.append("lower num_generations")
    levers.append(f"lower max_length (now {work.length} tokens)")
    if not work.lora.r:
        levers.append("set lora.r=16 (the frozen weights need no optimizer state)")
    elif work.device == "cuda" and not work.lora.load_in_4bit and work.sharding == "none":
        levers.append("set lora.load_in_4bit=true (the frozen weights take a quarter of the memory)")
    if work.devices > 1 and work.sharding == "none":
        levers.append("launch with configs/accelerate/fsdp2.yaml, which shards the model")
    if len(levers) == 1:
        levers.append("use a smaller model or a larger device")
    return levers


def _failed_request(error: BaseException) -> str | None:
    """Return the failed allocation as text, or None for any other error."""
    torch = sys.modules.get("torch")
    text = str(error)
    cpu = re.search(r"DefaultCPUAllocator: (?:can't|not enough memory).*?allocate (\d+) bytes", text)
    if cpu:
        return f"{format_gb(int(cpu.group(1)))} more were requested"
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        tried = re.search(r"Tried to allocate ([\d.]+ \w+)", text)
        return f"{tried.group(1)} more were requested" if tried else "no more could be allocated"
    return "no more could be allocated" if isinstance(error, MemoryError) else None
