"""Renamed keys: saved runs are upgraded when read; elsewhere an old key is an error naming the new one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from personakit.config.train_pillow import TrainPILLOW
from personakit.config.train_popi import TrainPOPI
from personakit.config.train_rpo import TrainRPO
from personakit.errors import UserError

_LORA = {
    "lora.rank": "lora.r",
    "lora.alpha": "lora.lora_alpha",
    "lora.dropout": "lora.lora_dropout",
    "lora.targets": "lora.target_modules",
    "lora.four_bit": "lora.load_in_4bit",
}
_STAGE = {
    "epochs": "num_train_epochs",
    "steps": "max_steps",
    "batch_size": "per_device_train_batch_size",
    "accumulation": "gradient_accumulation_steps",
    "schedule": "lr_scheduler_type",
    "warmup_share": "warmup_ratio",
    "checkpoint_every": "save_steps",
}
_EARLY_STOP = {
    "early_stop.metric": "metric_for_best_model",
    "early_stop.patience": "early_stopping_patience",
    "early_stop.minimum_change": "early_stopping_threshold",
    "early_stop.mode": "greater_is_better",
}


def _group(name: str, renamed: Mapping[str, str]) -> dict[str, str]:
    return {f"{name}.{old}": f"{name}.{new}" for old, new in renamed.items()}


RENAMED: dict[type[Any], dict[str, str]] = {
    TrainRPO: {
        **_LORA,
        **_group("sft", _STAGE | _EARLY_STOP),
        **_group("rl", _STAGE | _EARLY_STOP),
        "rl.generations": "rl.num_generations",
        "rl.max_tokens": "rl.max_completion_length",
        "rl.vllm": "rl.vllm_mode",
        "rl.vllm_url": "rl.vllm_server_base_url",
    },
    TrainPOPI: {
        **_LORA,
        **_group("warm_start", _STAGE),
        # `joint.schedule` keeps its name: it selects the model that trains.
        **_group("joint", {old: new for old, new in _STAGE.items() if old != "schedule"}),
        "joint.schedule_of_rates": "joint.lr_scheduler_type",
        "joint.summaries": "joint.num_summaries",
        "joint.pairs": "joint.num_pairs",
        "joint.summary_tokens": "joint.max_summary_tokens",
        "joint.kl": "joint.kl_coef",
    },
    TrainPILLOW: {
        **_LORA,
        **_group("tuning", _STAGE),
        "tuning.shown": "tuning.num_shots",
        "tuning.shown_from": "tuning.shot_candidates",
        "tuning.shown_share": "tuning.few_shot_share",
        "matcher.size": "matcher.embedding_size",
        "matcher.hidden": "matcher.hidden_size",
        "rl.epochs": "rl.num_train_epochs",
        "rl.steps": "rl.max_steps",
        "rl.selections": "rl.num_selections",
        "rl.clip": "rl.max_grad_norm",
        "rl.ppo_epochs": "rl.num_ppo_epochs",
        "rl.ppo_clip": "rl.cliprange",
        "rl.checkpoint_every": "rl.save_steps",
    },
}
"""Old dotted key to new dotted key, by schema."""

_CHANGED = {
    "greater_is_better": "min is now false, and max is true",
    "rl.per_device_train_batch_size": "it now counts rewrites, as TRL does: queries times rl.num_generations",
}
"""Further changes besides the name, by the new key or its last part."""


def refuse_old_keys(schema: type[Any], given: Mapping[str, Any], *, place: str) -> None:
    """Raise `UserError` for the first renamed key in `given` (nested)."""
    names = RENAMED.get(schema, {})
    old = [key for key in flat(given) if key in names]
    if not old:
        return
    others = "; ".join(f"{key} is {names[key]}{_change(names[key])}" for key in old[1:])
    hint = others and f"also, {others}"
    where = "" if place.startswith(f"{old[0]}=") else f"{place}: "
    raise UserError(
        f"{where}{old[0]} is now called {names[old[0]]}{_change(names[old[0]])}",
        hint=hint or "personakit config show prints every key",
    )


def _change(key: str) -> str:
    found = _CHANGED.get(key, _CHANGED.get(key.rpartition(".")[2]))
    return f" ({found})" if found else ""


def upgraded(schema: type[Any], saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a saved run (nested) under the current names."""
    names, old = RENAMED.get(schema, {}), flat(saved)
    found = {names.get(key, key): _converted(schema, key, old) for key in old}
    if schema is TrainPOPI:  # earlier versions used the joint stage's values for the warm start
        for name in ("gradient_checkpointing", "shared_prefix"):
            if f"joint.{name}" in found:
                found.setdefault(f"warm_start.{name}", found[f"joint.{name}"])
    if schema is TrainRPO:  # earlier versions knew one kind of draft and always wrote a trace
        found.setdefault("draft", "base")
        found.setdefault("trajectories.writer", "template")
    nested: dict[str, Any] = {}
    for key, value in found.items():
        *groups, name = key.split(".")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    return nested


def _converted(schema: type[Any], key: str, old: Mapping[str, Any]) -> Any:
    """Return the value of an old key in its new unit."""
    value = old[key]
    if key.endswith("early_stop.mode"):
        return None if old.get(key.replace("mode", "metric")) is None else value == "max"
    if schema is TrainRPO and key == "rl.batch_size":
        return value * old.get("rl.generations", TrainRPO().rl.num_generations)
    return value


def flat(given: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted key."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
