"""Settings that only have an effect where another setting has a certain value."""

from __future__ import annotations

from typing import Any

from personakit.config.train_pillow import TrainPILLOW
from personakit.config.train_popi import TrainPOPI
from personakit.config.train_rpo import TrainRPO

_NEEDS: dict[type[Any], dict[str, tuple[str, Any]]] = {
    TrainRPO: {"rl": ("stages", "all")},
    TrainPOPI: {"warm_start": ("warm_start.enabled", True)},
    TrainPILLOW: {
        "tuning": ("tuning.enabled", True),
        "controls.full_learning_rate": ("controls.full_fine_tuning", True),
    },
}
"""What a setting, or a group of settings, needs: the other setting's key and its value."""


def read_setting(settings: Any, key: str) -> Any:
    """Return the value of a dotted key."""
    for name in key.split("."):
        settings = getattr(settings, name)
    return settings


def missing_condition(settings: Any, key: str) -> str | None:
    """Return what must be set for `key` to have an effect, such as "stages=all"; None if it has one."""
    for needing, (other, value) in _NEEDS.get(type(settings), {}).items():
        if f"{key}.".startswith(f"{needing}.") and key != other and read_setting(settings, other) != value:
            return f"{other}={str(value).lower()}"
    return None
