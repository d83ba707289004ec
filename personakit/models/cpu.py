"""What this machine's CPU offers: instruction sets, and the cores that this process may use."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

_BFLOAT16 = {"avx512_bf16", "amx_bf16"}
#: Limits of oneDNN, torch's library for products, under which it uses neither unit, or not the second
#: (https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html).
_NEITHER = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
_NO_AMX = {*_NEITHER, "AVX512_CORE_BF16", "AVX512_CORE_FP16"}
_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # "QUOTA PERIOD" in microseconds, or "max PERIOD"


def bfloat16_units() -> list[str]:
    """Return the instruction sets that compute in bfloat16 here, as the kernel names them.

    Those of this CPU, without what the environment variable ONEDNN_MAX_CPU_ISA forbids.
    """
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    forbidden = _BFLOAT16 if limit in _NEITHER else {"amx_bf16"} if limit in _NO_AMX else set()
    return sorted(_entry("flags") & _BFLOAT16 - forbidden)


def cpu_name() -> str:
    """Return the CPU's model, stepping included, or the architecture where it is unknown (not Linux)."""
    entries = ("vendor_id", "cpu family", "model", "model name", "stepping")
    return " ".join(" ".join(sorted(_entry(entry))) for entry in entries).strip() or platform.machine()


def usable_cores() -> int:
    """Return the number of cores of this process: its CPU affinity, and on Linux its container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if _QUOTA.is_file():
        allowed, period = _QUOTA.read_text(encoding="ascii").split()
        if allowed != "max":
            cores = min(cores, max(1, -(-int(allowed) // int(period))))
    return cores


def _entry(name: str) -> set[str]:
    """Return the words of an entry of the first CPU; empty if unknown (not Linux)."""
    listing = Path("/proc/cpuinfo")
    if not listing.is_file():
        return set()
    found = re.search(rf"^{name}\s*:\s*(.*)$", listing.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return set(found.group(1).split()) if found else set()
