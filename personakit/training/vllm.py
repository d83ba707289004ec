"""vLLM for rollouts: on the training GPUs (colocate), or a server beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from personakit.errors import UserError


@dataclass(frozen=True, slots=True)
class Vllm:
    """Where completions come from. The figures are TRL's defaults."""

    mode: Literal["off", "colocate", "server"] = "off"
    """off: transformers' generate. colocate: vLLM in the training processes, on the same GPUs. server: a
    vLLM server that runs on GPUs of its own (`vllm serve`)."""
    server_url: str | None = None
    """Base address of the server, such as http://localhost:8000; in its place host and port may be given."""
    server_host: str = "0.0.0.0"
    server_port: int = 8000
    server_timeout: float = 240.0
    """Seconds to wait for the server to be up."""
    group_port: int = 51216
    """Port over which the server is sent the weights."""
    memory_share: float = 0.3
    """colocate: share of each GPU's memory that vLLM takes. Higher: more rollouts at once, less room to
    train in."""
    tensor_parallel: int = 1
    """colocate: GPUs over which one copy of the model is spread."""
    max_model_length: int | None = None
    """Longest prompt and completion together, in tokens; None: the model's window."""
    sleep: bool = False
    """colocate: hand the memory back during the optimizer step, for some time at every wake."""


def vllm_arguments(settings: Vllm) -> dict[str, Any]:
    """Return the arguments of TRL's GRPOConfig and RLOOConfig; none where vLLM is off.

    Raises `UserError` for values that make no sense.
    """
    if settings.mode == "off":
        return {}
    if settings.mode not in ("colocate", "server"):
        raise UserError(
            f'vllm.mode is "{settings.mode}", expected off, colocate or server', hint="leave it on off"
        )
    if not 0 < settings.memory_share < 1:
        raise UserError(
            f"vllm.memory_share is {settings.memory_share}, expected between 0 and 1",
            hint="0.3 leaves the rest of the GPU to training",
        )
    arguments: dict[str, Any] = {
        "use_vllm": True,
        "vllm_mode": settings.mode,
        "vllm_max_model_length": settings.max_model_length,
    }
    if settings.mode == "server":
        return arguments | {
            "vllm_server_base_url": settings.server_url,
            "vllm_server_host": settings.server_host,
            "vllm_server_port": settings.server_port,
            "vllm_server_timeout": settings.server_timeout,
            "vllm_group_port": settings.group_port,
        }
    return arguments | {
        "vllm_gpu_memory_utilization": settings.memory_share,
        "vllm_tensor_parallel_size": settings.tensor_parallel,
        "vllm_enable_sleep_mode": settings.sleep,
    }


def require_vllm(settings: Vllm, *, four_bit: bool = False) -> None:
    """Raise `UserError` where vLLM is asked for and is not there, in a version that TRL works with.

    And where it would be sent weights in four bits: TRL merges the adapter into them first.
    """
    if not vllm_arguments(settings):
        return
    if four_bit:
        raise UserError(
            f"vllm.mode is {settings.mode} and four_bit is true: weights in 4 bits cannot be sent to vLLM",
            hint="set vllm.mode=off or four_bit=false",
        )
    from trl.import_utils import is_vllm_available

    if not is_vllm_available():
        raise UserError(
            f"vllm.mode is {settings.mode}, and vLLM is not installed",
            hint='pip install "vllm>=0.22,<=0.31" on a machine with a GPU, or set vllm.mode=off',
        )
