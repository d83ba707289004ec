"""Disables telemetry and progress bars of libraries, and sets how their threads wait.

Call `silence_libraries()` before importing them.

huggingface_hub sends usage data, and TRL sends a request for each new trainer, unless disabled; transformers
and datasets draw progress bars over our output. Only this module changes these settings.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator

# Set regardless of the user's environment: nothing sends telemetry.
_NO_TELEMETRY = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "DISABLE_TELEMETRY": "1"}

# Defaults only: set the variables to see the libraries' output.
_QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
    "DATASETS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}


# torch's threads wait for each other after every operation, by default in a busy loop of milliseconds. If
# another process wants the core, the loop delays the very thread that it waits for
# (`benchmarks/local_speed.py`).
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
_USERS_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_USERS_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def silence_libraries() -> None:
    """Disable telemetry, and the libraries' progress bars and notices unless their variables are set.

    Waiting threads of OpenMP, which reads its variables when torch is imported, sleep.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in _USERS_WAITING):
        os.environ.update(_WAITING)
    os.environ.update(_NO_TELEMETRY)
    for variable, value in _QUIET.items():
        os.environ.setdefault(variable, value)
    # PEFT imports bitsandbytes if installed, which warns about kernels that a CPU does not need.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # huggingface_hub reads its variables once, on import. If it is already imported, set the constant.
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        constants.HF_HUB_DISABLE_TELEMETRY = True  # type: ignore[attr-defined]


def hide_loading_bars() -> None:
    """Hide transformers' progress bars ("Loading weights", "Writing model shards"). Imports transformers."""
    silence_libraries()
    if os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == "1":
        from transformers.utils import logging

        logging.disable_progress_bar()


def limit_threads() -> str:
    """Let torch use as many threads as this process may use cores; return the reason for their number.

    torch counts the machine's cores, of which a container's quota may allow fewer. The user's OMP_NUM_THREADS
    or MKL_NUM_THREADS wins.
    """
    import torch

    from personakit.models.cpu import usable_cores

    for name in _USERS_THREADS:
        if name in os.environ:
            return f"set by {name}"
    usable = usable_cores()
    if torch.get_num_threads() > usable:
        torch.set_num_threads(usable)
    if torch.get_num_threads() == usable:
        return "one per core that this process may use"
    return "torch's default: one per physical core"


def thread_waiting() -> str:
    """Return how OpenMP's threads wait in this process, and who decided it."""
    present = [f"{name}={os.environ[name]}" for name in _USERS_WAITING if name in os.environ]
    return ", ".join(present) or "OpenMP's default: torch was imported first"


def import_large(*names: str) -> None:
    """Import large libraries without the garbage collector, which would walk their objects repeatedly."""
    if all(name in sys.modules for name in names):
        return
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for name in names:
            importlib.import_module(name)
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def suppress_peft_warnings() -> Iterator[None]:
    """Suppress PEFT's warnings about deprecated names in transformers and about a second adapter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", message="You are trying to modify a model with PEFT")
        yield
