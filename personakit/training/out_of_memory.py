"""Warns of a stage that will not fit into memory, and names what to lower where it did not."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from personakit.errors import RunError
from personakit.training.memory import MemoryEstimate, Workload, available_memory, estimate_memory, in_gb
from personakit.training.run import Run


def plan_memory(config: Any, workload: Workload, run: Run, stage: str) -> MemoryEstimate:
    """Estimate, record it in run.json beside what there is, and warn on stderr where it will not fit.

    To be called before the weights are on the device.
    """
    estimate, free = estimate_memory(config, workload), available_memory(workload.device)
    # Processes on CPUs share the machine's memory; each GPU is its process's own.
    needed = estimate.total * (workload.devices if workload.device == "cpu" else 1)
    record = dict(run.facts.get("memory", {}))
    record[stage] = asdict(estimate) | {"total": estimate.total, "available": free}
    run.record(memory=record)
    if needed > free and run.writes:
        print(
            f'warning: stage "{stage}" will need about {in_gb(needed)}, and {in_gb(free)} are free: '
            f"{first_lever(workload)}",
            file=sys.stderr,
        )
    return estimate


@contextlib.contextmanager
def out_of_memory(workload: Workload, stage: str) -> Iterator[None]:
    """Turn running out of memory inside the block into a `RunError` that says what to lower, in order.

    It understands the errors of CUDA, of torch's allocator on a CPU, and of Python.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        asked = _asked(error)
        if asked is None:
            raise
        free = in_gb(available_memory(workload.device))
        place = "the GPU" if workload.device == "cuda" else "this machine"
        raise RunError(
            f'stage "{stage}" ran out of memory on {place}: {asked}, and {free} are free '
            f"({workload.rows} rows of up to {workload.length} tokens at a time)",
            hint=", then ".join(_levers(workload)),
        ) from error


def first_lever(workload: Workload) -> str:
    """Return what to lower first, in words."""
    return _levers(workload)[0]


def _levers(work: Workload) -> list[str]:
    """What can still be lowered, what costs least first."""
    levers = []
    if work.rows > 1:
        levers.append(
            "lower per_device_train_batch_size (more gradient_accumulation_steps keep the global batch)"
        )
    if not work.gradient_checkpointing:
        levers.append("set gradient_checkpointing=true (about a third slower)")
    if work.decoded_rows > 1:
        levers.append("lower num_generations")
    levers.append(f"lower max_length (now {work.length} tokens)")
    if not work.lora.r:
        levers.append("set lora.r=16 (an adapter needs no optimizer state for the rest)")
    elif work.device == "cuda" and not work.lora.load_in_4bit and work.sharding == "none":
        levers.append("set lora.load_in_4bit=true (the weights under the adapter in a quarter of the memory)")
    if work.devices > 1 and work.sharding == "none":
        levers.append("launch with configs/accelerate/fsdp2.yaml, which cuts the model into pieces")
    if len(levers) == 1:
        levers.append("take a smaller model or a larger device")
    return levers


def _asked(error: BaseException) -> str | None:
    """What could not be had, in words; None where the error is another one."""
    torch = sys.modules.get("torch")
    text = str(error)
    cpu = re.search(r"DefaultCPUAllocator: (?:can't|not enough memory).*?allocate (\d+) bytes", text)
    if cpu:
        return f"{in_gb(int(cpu.group(1)))} more were asked for"
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        tried = re.search(r"Tried to allocate ([\d.]+ \w+)", text)
        return f"{tried.group(1)} more were asked for" if tried else "no more could be had"
    return "no more could be had" if isinstance(error, MemoryError) else None
