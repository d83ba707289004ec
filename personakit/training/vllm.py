"""vLLM for rollouts, on the training GPUs (colocate) or as a server on other GPUs."""

from __future__ import annotations

from typing import Any

from personakit.config.training import GroupRLSettings
from personakit.errors import UserError

_COMMON = ("vllm_mode", "vllm_max_model_length")
_SERVER = ("vllm_server_base_url", "vllm_server_timeout", "vllm_group_port")
_COLOCATE = ("vllm_gpu_memory_utilization", "vllm_tensor_parallel_size", "vllm_enable_sleep_mode")


def vllm_arguments(settings: GroupRLSettings) -> dict[str, Any]:
    """Return the arguments for TRL's GRPOConfig and RLOOConfig; empty if vLLM is off."""
    if settings.vllm_mode == "off":
        return {}
    names = _COMMON + (_SERVER if settings.vllm_mode == "server" else _COLOCATE)
    return {"use_vllm": True} | {name: getattr(settings, name) for name in names}


def require_vllm(settings: GroupRLSettings, *, load_in_4bit: bool = False) -> None:
    """Raise `UserError` if vLLM is on but not installed in a version that TRL supports.

    Also for 4-bit weights: before sending the weights, TRL would merge the adapter into them.
    """
    if settings.vllm_mode == "off":
        return
    if load_in_4bit:
        raise UserError(
            f"vllm_mode is {settings.vllm_mode} and lora.load_in_4bit is true: weights in 4 bits cannot be "
            "sent to vLLM",
            hint="set vllm_mode=off or lora.load_in_4bit=false",
        )
    from trl.import_utils import is_vllm_available

    if not is_vllm_available():
        raise UserError(
            f"vllm_mode is {settings.vllm_mode}, but vLLM is not installed",
            hint='pip install "vllm>=0.22,<=0.31" on a machine with a GPU, or set vllm_mode=off',
        )
