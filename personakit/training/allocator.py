"""Environment variables that make glibc's malloc keep freed memory.

By default malloc returns every large tensor to the kernel, and the next step faults the pages in again.
malloc reads the variables at process start, so a process sets them and re-executes itself.
`benchmarks/small_model.py [--untuned]` measures the effect.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

_TUNED = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),  # blocks up to 1 GB come from the heap, not from mmap
    "MALLOC_TRIM_THRESHOLD_": str(2**32),  # keep up to 4 GB of free heap
    "MALLOC_TOP_PAD_": str(2**28),  # grow the heap by 256 MB at a time
}


#: Commands that compute with tensors.
COMPUTING = ("train", "eval", "infer")


def restart_tuned(arguments: Sequence[str]) -> None:
    """Restart this process with the variables in its environment, if `arguments` are a command that computes.

    Not for its help. Called before anything is imported that the restart would import again.
    """
    missing = allocator_environment()
    computes = arguments[:1] and arguments[0] in COMPUTING
    if missing and computes and sys.platform == "linux" and not {"-h", "--help"} & set(arguments):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **missing})


def allocator_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables missing from `environment` (default: this process's).

    Variables that are set already are not returned; none are if another allocator is loaded (`LD_PRELOAD`).
    """
    present = os.environ if environment is None else environment
    if present.get("LD_PRELOAD"):
        return {}
    return {name: value for name, value in _TUNED.items() if name not in present}
