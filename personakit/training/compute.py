"""The compute of a training stage: FLOPs, bytes of gradients and optimizer, peak memory, seconds.

FLOPs are counted as in arXiv 2001.08361: per weight and token two for the forward pass, two for the gradient
of the activations, and two for the gradient of a trained weight. Attention scores are not counted, and the
head counts at every position.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from personakit.training.run import Run


def training_flops(parameters: int, trained: int, tokens: int) -> int:
    """Return the FLOPs of training on `tokens` tokens; `parameters` counts all weights."""
    return (4 * parameters + 2 * trained) * tokens


@contextlib.contextmanager
def record_compute(run: Run, stage: str) -> Iterator[dict[str, Any]]:
    """Record the compute of the stage in the block in run.json, under `compute`, unless it was already done.

    Bytes and weight counts come from the stage's memory plan. `peak_bytes` is the peak of the device on CUDA,
    else of the whole process, or None if unknown. For a resumed stage `resumed` is true and the seconds count
    from there. The block may add further entries to the dict it gets.
    """
    facts: dict[str, Any] = {}
    if run.stage_done(stage) is not None:
        yield facts
        return
    resumed = run.checkpoints(stage).is_dir()
    _reset_peak()
    wall, processor = time.monotonic(), time.process_time()
    yield facts
    done = run.stage_done(stage)
    plan: dict[str, Any] = run.facts.get("memory", {}).get(stage, {})
    facts |= {
        "seconds": round(time.monotonic() - wall, 3),
        "processor_seconds": round(time.process_time() - processor, 3),
        "peak_bytes": _peak(),
        "resumed": resumed,
    }
    if done and plan:
        facts |= {
            "parameters": plan["parameters"],
            "trained": plan["trained"],
            "tokens": done["tokens"],
            "flops": training_flops(plan["parameters"], plan["trained"], done["tokens"]),
            "gradient_bytes": plan["gradients"],
            "optimizer_bytes": plan["optimizer"],
        }
    run.record(compute=dict(run.facts.get("compute", {})) | {stage: facts})


def _reset_peak() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):  # Linux: reset the process's peak
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak() -> int | None:
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    found = [line.split() for line in status.read_text(encoding="utf-8").splitlines() if "VmHWM" in line]
    return int(found[0][1]) * 1024 if found else None
