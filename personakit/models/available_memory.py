"""The memory that is free on a device."""

from __future__ import annotations

from pathlib import Path


def available_memory(device: str) -> int:
    """Return the free bytes of this process's device: CUDA memory, or RAM within the container's limit."""
    if device == "cuda":
        import torch

        # Memory that torch has reserved but not allocated is free for the next stage.
        unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(torch.cuda.mem_get_info()[0]) + unused
    import psutil

    free = int(psutil.virtual_memory().available)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()).isdigit():
        free = min(free, int(text) - int(used.read_text()))
    return max(free, 0)


def format_gb(count: float) -> str:
    """Format bytes as GB (10^9 bytes) with two significant digits."""
    gigabytes = count / 1e9
    return f"{gigabytes:.1f} GB" if gigabytes >= 1 else f"{gigabytes:.2f} GB"
