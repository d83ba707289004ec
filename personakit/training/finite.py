"""Stops a stage at the step whose loss, gradients or weights are not finite numbers.

Without this, transformers logs a loss of 0 for such a step, goes on, and saves the weights.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from personakit.config.renamed import flat
from personakit.config.training import TrainingSettings
from personakit.errors import RunError
from personakit.training.checkpoints import newest_complete
from personakit.training.run import Run


def require_finite(name: str, value: Any, *, place: str, hint: str) -> None:
    """Raise `RunError` if `value`, a number or a tensor with one, is not finite; `place` names the step."""
    value = value.full_tensor() if hasattr(value, "full_tensor") else value
    if not math.isfinite(number := float(value)):
        raise RunError(f"{place}: the {name} is {number}, expected a finite number", hint=hint)


def watch_finite(trainer: Any, settings: TrainingSettings, run: Run, stage: str) -> None:
    """Make `trainer` raise `RunError` at a step whose loss or gradient norm is not finite."""
    train_once, clip = trainer.training_step, trainer.accelerator.clip_grad_norm_

    def require(name: str, value: Any) -> None:
        require_finite(name, value, place=_place(trainer, stage), hint=_hint(trainer, settings, run, stage))

    def training_step(*args: Any, **kwargs: Any) -> Any:
        try:
            loss = train_once(*args, **kwargs)
        except RuntimeError as error:
            if "probability tensor contains" not in str(error):  # torch.multinomial
                raise
            raise RunError(
                f"{_place(trainer, stage)}: the model's probabilities are not finite, so that no completion "
                "can be sampled",
                hint=_hint(trainer, settings, run, stage),
            ) from error
        require("loss", loss)
        return loss

    def clip_grad_norm(*args: Any, **kwargs: Any) -> Any:
        norm = clip(*args, **kwargs)
        if norm is not None:
            require("gradient norm", norm)
        return norm

    trainer.training_step = training_step
    trainer.accelerator.clip_grad_norm_ = clip_grad_norm


def require_finite_weights(trainer: Any, settings: TrainingSettings, run: Run, stage: str) -> None:
    """Raise `RunError` if a trained weight is not finite."""
    found = _broken_weight(trainer, trained=True)
    if found is not None:
        raise RunError(
            f'stage "{stage}", after step {trainer.state.global_step}: the weight {found} is not finite',
            hint=_hint(trainer, settings, run, stage),
        )


def _place(trainer: Any, stage: str) -> str:
    return f'stage "{stage}", step {trainer.state.global_step + 1}'


def _hint(trainer: Any, settings: TrainingSettings, run: Run, stage: str) -> str:
    """Return the likely cause, and the last good checkpoint."""
    if trainer.state.global_step == 0 and (weight := _broken_weight(trainer)) is not None:
        return f"the weight {weight} of the model is not finite: download or convert the model again"
    keys = [
        key
        for key, value in flat(run.facts["config"]).items()
        if key.endswith("learning_rate") and value == settings.learning_rate
    ]
    kept = newest_complete(run.checkpoints(stage)) if run.checkpoints(stage).is_dir() else None
    good = "" if kept is None else f"; the last good checkpoint is {Path(kept[0])}"
    rate = " or ".join(keys) or "learning_rate"
    return f"start a new run with a lower {rate} (now {settings.learning_rate:g}){good}"


def _broken_weight(trainer: Any, *, trained: bool = False) -> str | None:
    """Return the name of the first weight that is not finite, or None."""
    for name, weight in trainer.model.named_parameters():
        if (weight.requires_grad or not trained) and weight.is_floating_point():
            local = weight.to_local() if hasattr(weight, "to_local") else weight
            if not bool(local.detach().isfinite().all()):
                return str(name)
    return None
