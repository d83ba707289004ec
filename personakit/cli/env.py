"""`personakit env`: versions, devices and folders, for bug reports."""

from __future__ import annotations

import typer

from personakit.cli.command import command
from personakit.cli.output import Result, table

_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "numpy", "pyarrow")
_EXTRAS = {"dense": "sentence-transformers"}


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "env")(env)


def env() -> Result:
    """Print versions, devices and folders, for bug reports.

    Includes device and dtype of training and of local inference with the reasons (the first call on a CPU
    with bfloat16 units measures for some seconds), threads, the cache folder, and installed extras.
    """
    import os
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import torch

    from personakit import __version__
    from personakit.files import cache_folder
    from personakit.models.environment import limit_threads, thread_waiting

    def installed(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    found: dict[str, object] = {
        "personakit": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{package: installed(package) for package in _PACKAGES},
        **_device(),
        "cpu_cores": os.cpu_count(),
        "torch_threads_reason": limit_threads(),
        "torch_threads": torch.get_num_threads(),
        "torch_threads_wait": thread_waiting(),
        "cache": str(cache_folder()),
        **{f"extra_{extra}": installed(package) for extra, package in _EXTRAS.items()},
    }
    return Result(found, lambda out: table(out, ("what", "value"), _rows(found)))


def _device() -> dict[str, object]:
    """Return the device and dtype of training and of local inference, with the reasons."""
    from personakit.models.number_format import choose_format
    from personakit.training.allocator import allocator_environment
    from personakit.training.precision import decide_precision

    precision = decide_precision()
    inference, small = (choose_format(precision.device, weights) for weights in (None, 0))
    return {
        "device": precision.device,
        "dtype": precision.dtype,
        "dtype_reason": precision.reason,
        "inference_dtype": inference.dtype,
        "inference_dtype_reason": inference.reason,
        "inference_dtype_small_models": f"{small.dtype}: {small.reason}",
        "allocator": "default" if not allocator_environment() else "tuned for train, eval and infer",
    }


def _rows(found: dict[str, object]) -> list[tuple[str, str]]:
    return [(name, "not installed" if value is None else str(value)) for name, value in found.items()]
