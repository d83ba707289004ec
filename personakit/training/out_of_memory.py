"""Out of memory, told in one sentence: what was asked for, what there is, and what to lower first."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Mapping

from personakit.errors import RunError
from personakit.training.memory import Workload, available_memory, in_gb

_NAMES = {
    "rows": "per_device_train_batch_size",
    "length": "max_length",
    "gradient_checkpointing": "gradient_checkpointing",
    "group": "num_generations",
    "r": "lora.r",
    "load_in_4bit": "lora.load_in_4bit",
}


@contextlib.contextmanager
def out_of_memory(workload: Workload, stage: str, names: Mapping[str, str] | None = None) -> Iterator[None]:
    """Turn running out of memory inside the block into a `RunError` that says what to lower, in order.

    Understood are torch's on CUDA, its allocator's on a CPU, and Python's. `names` says how the user knows
    what can be lowered (the keys of `_NAMES`), such as {"rows": "sft.per_device_train_batch_size"}.
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
            hint=", then ".join(_levers(workload, names or {})),
        ) from error


def first_lever(workload: Workload, names: Mapping[str, str] | None = None) -> str:
    """Return what to lower first, in words."""
    return _levers(workload, names or {})[0]


def _levers(work: Workload, names: Mapping[str, str]) -> list[str]:
    """What can still be lowered, what costs least first."""
    name = _NAMES | dict(names)
    levers = []
    if work.rows > 1:
        levers.append(f"lower {name['rows']} (with more gradient_accumulation_steps the global batch stays)")
    if not work.gradient_checkpointing:
        levers.append(f"set {name['gradient_checkpointing']}=true (about a third slower)")
    if work.decoded_rows > 1:
        levers.append(f"lower {name['group']}")
    levers.append(f"lower {name['length']} (now {work.length} tokens)")
    if not work.lora.r:
        levers.append(f"set {name['r']}=16 (an adapter needs no optimizer state for the rest)")
    elif work.device == "cuda" and not work.lora.load_in_4bit and work.sharding == "none":
        levers.append(
            f"set {name['load_in_4bit']}=true (the weights under the adapter in a quarter of the memory)"
        )
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
