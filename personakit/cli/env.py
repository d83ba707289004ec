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

    Includes the device and dtype of local models with the reason, threads, the cache folder, and installed
    extras.
    """
    import os
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import torch

    from personakit import __version__
    from personakit.files import cache_folder

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
        "torch_threads": torch.get_num_threads(),
        "cache": str(cache_folder()),
        **{f"extra_{extra}": installed(package) for extra, package in _EXTRAS.items()},
    }
    return Result(found, lambda out: table(out, ("what", "value"), _rows(found)))


def _device() -> dict[str, object]:
    """Return the device and dtype of local models, with the reason."""
    from personakit.training.allocator import allocator_environment
    from personakit.training.precision import decide_precision

    precision = decide_precision()
    return {
        "device": precision.device,
        "dtype": precision.dtype,
        "dtype_reason": precision.reason,
        "allocator": "default" if not allocator_environment() else "tuned for train, eval and infer",
    }


def _rows(found: dict[str, object]) -> list[tuple[str, str]]:
    return [(name, "not installed" if value is None else str(value)) for name, value in found.items()]
