"""Defaults by the size of the model, and learning rates that are refused for it.

What suits a model of a million parameters destroys one of a billion. The table gives the settings that depend
on the size, for each class of sizes above nano's. `methods.model_size`
counts the parameters and applies the table to the settings that the user has not set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from personakit.config.conditions import missing_condition, read_setting
from personakit.config.schema import LAMP, OURS, PRLM, STATED
from personakit.config.train_pillow import TrainPILLOW
from personakit.config.train_popi import PLUS, TrainPOPI
from personakit.config.train_rpo import TrainRPO
from personakit.errors import UserError

#: Upper bounds of the size classes, in parameters; the last class has none.
BOUNDS = (20_000_000, 300_000_000, 1_000_000_000, 15_000_000_000)
TITLES = ("up to 20 M", "20 M to 300 M", "300 M to 1 B", "1 B to 15 B", "above 15 B")

MEASURED = "our choice (measured on SmolLM2-135M-Instruct)"
SHIPPED = "our choice (as in the shipped configs of this size)"


@dataclass(frozen=True, slots=True)
class BySize:
    """A setting's value in each class above the first: 300 M, 1 B, 15 B, larger."""

    values: tuple[Any, Any, Any, Any]
    provenance: str = OURS
    full: tuple[Any, Any, Any, Any] | None = None
    """The values if all weights are trained (lora.r is 0); None: the same."""
    full_provenance: str = OURS
    first_provenance: str | None = None
    """The provenance of the first of `values`, where it differs."""

    def choose(self, size: int, *, full: bool) -> tuple[Any, str]:
        """Return value and provenance in the class `size` (from 1)."""
        if full and self.full is not None:
            return self.full[size - 1], self.full_provenance
        first = self.first_provenance if size == 1 else None
        return self.values[size - 1], first or self.provenance


def _same(value: Any, provenance: str = OURS) -> BySize:
    return BySize((value, value, value, value), provenance)


_RANK = _same(16, PRLM)
_ALPHA = _same(32)  # always twice the rank
# Measured: rank 16 on all linear layers, batches of 8; 1e-3 for a hundred steps, 3e-4 for a few hundred.
_SUPERVISED = BySize((5e-4, 2e-4, 1e-4, 5e-5), OURS, (5e-5, 1e-5, 1e-5, 5e-6), first_provenance=MEASURED)
_RL = BySize((2e-5, 1e-5, 5e-6, 2e-6), OURS, (1e-6, 1e-6, 1e-6, 1e-6), PRLM)
_CHECKPOINTING = BySize((False, True, True, True), SHIPPED)
_PROMPT = BySize((512, 2048, 3072, 3072), LAMP)

BY_SIZE: dict[type[Any], dict[str, BySize]] = {
    TrainRPO: {
        "lora.r": _RANK,
        "lora.lora_alpha": _ALPHA,
        "prompt_tokens": _PROMPT,
        "controls.context_tokens": _PROMPT,
        "trajectories.max_tokens": BySize((512, 768, 1024, 1024), SHIPPED),
        "sft.learning_rate": _SUPERVISED,
        "sft.per_device_train_batch_size": BySize((8, 4, 2, 1), SHIPPED),
        "sft.gradient_accumulation_steps": BySize((1, 4, 8, 16), SHIPPED),
        "sft.max_length": BySize((1024, 3072, 4096, 4096), SHIPPED),
        "sft.gradient_checkpointing": _CHECKPOINTING,
        "rl.learning_rate": _RL,
        "rl.per_device_train_batch_size": BySize((4, 8, 8, 4), SHIPPED),
        "rl.gradient_accumulation_steps": BySize((8, 4, 4, 8), SHIPPED),
        "rl.max_completion_length": BySize((256, 512, 512, 512), SHIPPED),
        "rl.gradient_checkpointing": _CHECKPOINTING,
    },
    TrainPOPI: {
        "lora.r": _RANK,
        "lora.lora_alpha": _ALPHA,
        "max_length": BySize((1024, 2048, 3072, 3072), SHIPPED),
        "data.signal_tokens": BySize((512, 1536, 2048, 2048), SHIPPED),
        "warm_start.learning_rate": _SUPERVISED,
        "warm_start.per_device_train_batch_size": BySize((8, 4, 4, 2), SHIPPED),
        "warm_start.gradient_accumulation_steps": BySize((1, 2, 2, 4)),
        "warm_start.gradient_checkpointing": _CHECKPOINTING,
        "joint.learning_rate": BySize((5e-5, 2e-5, 1e-5, 5e-6), SHIPPED),
        # The generator's objective is DPO's.
        "joint.generator_learning_rate": BySize((2e-4, 2e-5, 1e-5, 5e-6), SHIPPED, first_provenance=MEASURED),
        "joint.per_device_train_batch_size": _same(1, SHIPPED),
        "joint.gradient_accumulation_steps": _same(8, SHIPPED),
        "joint.max_summary_tokens": BySize((128, 192, 256, 256), PLUS),
        "joint.gradient_checkpointing": _CHECKPOINTING,
    },
    TrainPILLOW: {
        "lora.r": _RANK,
        "lora.lora_alpha": _ALPHA,
        "prompt_tokens": _PROMPT,
        "tuning.learning_rate": _SUPERVISED,
        "tuning.per_device_train_batch_size": BySize((8, 4, 2, 1), SHIPPED),
        "tuning.gradient_accumulation_steps": BySize((2, 4, 8, 16), SHIPPED),
        "tuning.max_length": BySize((1024, 2048, 2048, 2048), SHIPPED),
        "tuning.gradient_checkpointing": _CHECKPOINTING,
        "matcher.embedding_size": _same(128),
        "matcher.hidden_size": _same(128),
        "controls.full_fine_tuning": BySize((True, True, False, False), STATED),
        "controls.full_learning_rate": BySize((5e-5, 1e-5, 1e-5, 5e-6)),
    },
}
"""The settings that depend on the size of the model, by method; the first class keeps its settings."""


@dataclass(frozen=True, slots=True)
class _Lengths:
    """Keys of lengths in tokens that must fit into each other: prompts + answer <= total <= the window."""

    total: str
    answer: str
    prompts: tuple[str, ...]


_LENGTHS: dict[type[Any], _Lengths] = {
    TrainRPO: _Lengths(
        "sft.max_length", "trajectories.max_tokens", ("prompt_tokens", "controls.context_tokens")
    ),
    TrainPOPI: _Lengths("max_length", "joint.max_summary_tokens", ("data.signal_tokens",)),
}


@dataclass(frozen=True, slots=True)
class ChosenSetting:
    """A setting that was chosen for the size of the model."""

    value: Any
    provenance: str


def size_class(parameters: int) -> int:
    """Return the index of the class in `TITLES`."""
    return sum(parameters > bound for bound in BOUNDS)


def fit_to_size(
    settings: Any, parameters: int, given: frozenset[str], *, window: int | None = None
) -> dict[str, ChosenSetting]:
    """Change `settings` in place to the table's values; return the chosen settings by dotted key.

    Keys in `given` are the user's and stay. Lengths stay within the model's context `window` and within
    those that the user has given; RL's batch becomes a multiple of `rl.num_generations`.
    """
    table, size = BY_SIZE.get(type(settings), {}), size_class(parameters)
    if size == 0:
        return {}
    free = [key for key in table if key not in given]
    # The rank first: the other values depend on whether all weights are trained.
    if "lora.r" in free:
        settings.lora.r = table["lora.r"].choose(size, full=False)[0]
    full = settings.lora.r == 0
    provenance: dict[str, str] = {}
    for key in free:
        value, provenance[key] = table[key].choose(size, full=full)
        _set(settings, key, value)
    if "lora.lora_alpha" in free:
        if full:  # there is no adapter to scale
            del provenance["lora.lora_alpha"]
        else:
            settings.lora.lora_alpha = 2 * settings.lora.r
    _shorten(settings, frozenset(free), window)
    if "rl.per_device_train_batch_size" in free:
        group = settings.rl.num_generations
        rows = settings.rl.per_device_train_batch_size
        settings.rl.per_device_train_batch_size = max(group, rows - rows % group)
    return {key: ChosenSetting(read_setting(settings, key), text) for key, text in provenance.items()}


def _shorten(settings: Any, free: frozenset[str], window: int | None) -> None:
    lengths = _LENGTHS.get(type(settings))
    if lengths is None:
        return
    if window is not None and lengths.total in free:
        _set(settings, lengths.total, min(window, read_setting(settings, lengths.total)))
    total = read_setting(settings, lengths.total)
    if lengths.answer in free:
        _set(settings, lengths.answer, min(total // 2, read_setting(settings, lengths.answer)))
    answer = read_setting(settings, lengths.answer)
    for key in lengths.prompts:
        if key in free:
            _set(settings, key, min(max(32, total - answer), read_setting(settings, key)))
    if "rl.max_completion_length" in free:
        settings.rl.max_completion_length = min(settings.rl.max_completion_length, answer)


def _set(settings: Any, key: str, value: Any) -> None:
    *groups, name = key.split(".")
    for group in groups:
        settings = getattr(settings, group)
    setattr(settings, name, value)


@dataclass(frozen=True, slots=True)
class _Rate:
    """A learning rate and its kind of training."""

    key: str
    kind: str
    full: bool | None = None
    """None: as lora.r says."""


_RATES: dict[type[Any], tuple[_Rate, ...]] = {
    TrainRPO: (
        _Rate("sft.learning_rate", "supervised"),
        _Rate("rl.learning_rate", "rl"),
    ),
    TrainPOPI: (
        _Rate("warm_start.learning_rate", "supervised"),
        _Rate("joint.learning_rate", "rl"),
        _Rate("joint.generator_learning_rate", "rl"),
    ),
    TrainPILLOW: (
        _Rate("tuning.learning_rate", "supervised"),
        _Rate("controls.full_learning_rate", "supervised", full=True),
    ),
}
# From this rate on a model of at least so many parameters is destroyed: its loss diverges, or its answers
# become noise. Ten times the largest usual rate, or more.
_DESTROYS: Mapping[tuple[str, bool], tuple[tuple[int, float], ...]] = {
    ("supervised", True): ((100_000_000, 1e-3), (1_000_000_000, 2e-4)),
    ("supervised", False): ((100_000_000, 5e-3),),
    ("rl", True): ((100_000_000, 1e-4),),
    ("rl", False): ((100_000_000, 1e-3),),
}


def check_rates(settings: Any, parameters: int) -> None:
    """Raise `UserError` for a learning rate known to destroy a model of this size, unless `force` is set."""
    if getattr(settings, "force", False):
        return
    for rate in _RATES.get(type(settings), ()):
        if missing_condition(settings, rate.key) is not None:
            continue
        full = settings.lora.r == 0 if rate.full is None else rate.full
        bounds = [bound for least, bound in _DESTROYS[rate.kind, full] if parameters >= least]
        value = read_setting(settings, rate.key)
        if bounds and value >= bounds[-1]:
            trained = "all weights are trained" if full else "a LoRA adapter is trained"
            suited = BY_SIZE[type(settings)][rate.key].choose(size_class(parameters), full=full)[0]
            raise UserError(
                f"{rate.key} is {value:g}, expected less than {bounds[-1]:g}: {trained}, and higher rates "
                f"are known to destroy a model of {in_words(parameters)} parameters",
                hint=f"set {rate.key}={suited:g}, or force=true to train nevertheless",
            )


def in_words(parameters: int) -> str:
    """Return a number of parameters as text, such as 134.5 M."""
    for bound, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if parameters >= bound:
            return f"{parameters / bound:.4g} {unit}"
    return str(parameters)
