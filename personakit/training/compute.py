"""What a training stage cost: operations, bytes for gradients and optimizer, peak memory, seconds.

Operations are counted as is usual (arXiv 2001.08361): two a weight and token for the forward pass, two for
the gradient of what flows through it, two more for the gradient of a weight that trains. Left out are
attention's scores, and that the head sees the answers alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from personakit.training.run import Run


def training_flops(parameters: int, trained: int, tokens: int) -> int:
    """Return the floating-point operations of training on so many tokens; `parameters` counts all weights."""
    return (4 * parameters + 2 * trained) * tokens


@contextlib.contextmanager
def measured(run: Run, stage: str) -> Iterator[dict[str, Any]]:
    """Record in run.json, under `compute`, what the stage in the block cost; one that was done is left alone.

    Bytes and weights are those of the stage's own memory plan. The peak is of the whole process, on CUDA of
    the device; None where the system does not tell. A stage that was taken up again says `resumed`, and its
    seconds are those since. What the block puts into the dict that it is given stands beside them.
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
    with contextlib.suppress(OSError):  # Linux: the process's own high-water mark starts anew
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
