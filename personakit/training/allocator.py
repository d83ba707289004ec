"""glibc's malloc, told to keep what it has.

By default it returns every large tensor to the kernel and faults the pages in again at the next step.
It reads these variables when a process starts, so whoever wants them sets them and re-executes itself.
Figures with and without: `benchmarks/small_model.py [--untuned]`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

_TUNED = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),  # blocks up to 1 GB come from the heap, not from mmap
    "MALLOC_TRIM_THRESHOLD_": str(2**32),  # keep up to 4 GB of free heap
    "MALLOC_TOP_PAD_": str(2**28),  # grow the heap by 256 MB at a time
}


def tuned_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what to add to `environment` (default: this process's); empty where nothing is missing.

    Variables that the user has set, and any other allocator (`LD_PRELOAD`), are left alone.
    """
    present = os.environ if environment is None else environment
    if present.get("LD_PRELOAD"):
        return {}
    return {name: value for name, value in _TUNED.items() if name not in present}
