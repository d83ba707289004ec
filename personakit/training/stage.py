"""One stage of a run: where it works, and the arguments of one call that are no settings of a user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from personakit.config.schema import check_bounds
from personakit.config.training import LoraSettings, TrainingSettings, all_weights
from personakit.errors import UserError
from personakit.training.early_stop import Target
from personakit.training.processes import process_count
from personakit.training.progress import Progress, Silent
from personakit.training.run import Run

TooLong = Literal["error", "cut"]
#: Where a run keeps TensorBoard events, in a folder per stage.
TENSORBOARD = "tensorboard"


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage's place in its run, and what a call adds to the settings. Two stages of a run need two names
    and two `output`s.
    """

    run: Run
    name: str
    output: str = "model"
    """Folder of the result, in the run's."""
    progress: Progress = field(default_factory=Silent)
    lora: LoraSettings = field(default_factory=all_weights)
    """The adapter; r = 0 trains all weights, and merges an adapter that the model has already."""
    max_length: int = 1024
    """Longest row in tokens, prompt and answer together."""
    too_long: TooLong = "error"
    """What to do with a longer one: refuse it, or cut the middle out of its prompt."""
    group_by_length: bool = True
    """Whether batches are made of rows of similar length."""
    max_tokens: int | None = None
    """Stop at the step that reaches this many training tokens (prompt and answer, without padding)."""
    target: Target | None = None
    """Stop once a metric reaches a value."""
    device: str = "auto"
    dtype: str = "auto"

    @property
    def checkpoints(self) -> str:
        """The folder of the stage's checkpoints."""
        return str(self.run.checkpoints(self.name))

    def recorded(self, settings: TrainingSettings) -> dict[str, Any]:
        """Return what the model card says the stage was trained with."""
        call = {"max_length": self.max_length, "too_long": self.too_long, "max_tokens": self.max_tokens}
        return asdict(settings) | asdict(self.lora) | call


@dataclass(frozen=True, slots=True)
class StageMetrics:
    """How a stage is measured: which metrics go where, and how tokens are counted."""

    rename: Callable[[str], str | None]
    """From the trainer's name of a metric to ours; None leaves it out."""
    tokens: Callable[[int, Any], int]
    """Tokens trained on after a step, given the trainer's state."""


def check_stage(settings: TrainingSettings, stage: Stage, *, evaluates: bool = False) -> None:
    """Raise `UserError` for settings that cannot be trained with, as those below do."""
    check_bounds(settings, place=f'stage "{stage.name}"')
    check_bounds(stage.lora, place=f'stage "{stage.name}", lora')
    for name in ("max_length", "max_tokens"):
        value = getattr(stage, name)
        if value is not None and value < 1:
            raise UserError(
                f'stage "{stage.name}": {name} is {value}, expected at least 1', hint="set it to 1 or more"
            )
    check_lora(stage.lora)
    check_stopping(settings, stage.name, evaluates=evaluates)


def check_report_to(report_to: str, stage: str) -> None:
    """Raise `UserError` where metrics are to be reported to what is not installed."""
    if report_to == "none":
        return
    from transformers.integrations import get_available_reporting_integrations

    if report_to not in get_available_reporting_integrations():
        raise UserError(
            f'stage "{stage}": report_to is {report_to}, which is not installed',
            hint=f"install it (pip install {report_to.replace('_', '-')}), or set report_to=none",
        )


def check_lora(lora: LoraSettings) -> None:
    """Raise `UserError` where frozen weights would have to train."""
    if lora.load_in_4bit and lora.r == 0:
        raise UserError(
            "lora.load_in_4bit is true and lora.r is 0: weights in four bits cannot train",
            hint="set lora.r=16, whose adapter trains above them, or lora.load_in_4bit=false",
        )


def check_stopping(settings: TrainingSettings, stage: str, *, evaluates: bool) -> None:
    """Raise `UserError` where early stopping needs an evaluation set, and there is none (`evaluates`).

    And where metrics are to be reported to what is not installed.
    """
    check_report_to(settings.report_to, stage)
    if settings.stops_on_evaluation and not evaluates:
        raise UserError(
            f'stage "{stage}": metric_for_best_model is "{settings.metric_for_best_model}", and there is no '
            "evaluation set",
            hint="hold some data out (data.held_out), or stop on a metric of training such as loss or reward",
        )


def train_batch_size(settings: TrainingSettings) -> int:
    """Return the rows of one optimizer step, over all devices together."""
    return settings.per_device_train_batch_size * settings.gradient_accumulation_steps * process_count()


def peft_config(lora: LoraSettings) -> Any:
    """Return PEFT's configuration of a new adapter, or None where all weights train."""
    if lora.r == 0:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=lora.target_modules,
        task_type="CAUSAL_LM",
    )
