"""One stage of a run: its folder, and arguments that are not user settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from personakit.config.schema import check_bounds
from personakit.config.training import LoraSettings, TrainingSettings, no_lora
from personakit.errors import UserError
from personakit.training.early_stop import Target
from personakit.training.processes import process_count
from personakit.training.progress import Progress, SilentProgress
from personakit.training.run import Run

TooLong = Literal["error", "cut"]
#: The run's folder of TensorBoard events, with a subfolder per stage.
TENSORBOARD = "tensorboard"


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a run. Stages of one run need different names and different `output` folders."""

    run: Run
    name: str
    output: str = "model"
    """Folder of the result, inside the run's folder."""
    progress: Progress = field(default_factory=SilentProgress)
    lora: LoraSettings = field(default_factory=no_lora)
    """The adapter; r = 0 trains all weights, after merging an existing adapter."""
    max_length: int = 1024
    """Maximum tokens of prompt and answer together."""
    too_long: TooLong = "error"
    """For longer rows: raise an error, or cut the middle of the prompt."""
    group_by_length: bool = True
    """Whether batches group rows of similar length."""
    max_tokens: int | None = None
    """Stop at the step that reaches this number of training tokens (prompt and answer, without padding)."""
    target: Target | None = None
    """Stop once a metric reaches a value."""
    device: str = "auto"
    dtype: str = "auto"

    @property
    def checkpoints(self) -> str:
        """The folder of the stage's checkpoints."""
        return str(self.run.checkpoints(self.name))

    def recorded(self, settings: TrainingSettings) -> dict[str, Any]:
        """Return the settings to list in the model card."""
        call = {"max_length": self.max_length, "too_long": self.too_long, "max_tokens": self.max_tokens}
        return asdict(settings) | asdict(self.lora) | call


@dataclass(frozen=True, slots=True)
class StageMetrics:
    """Names of a stage's metrics, and how its tokens are counted."""

    rename: Callable[[str], str | None]
    """Maps the trainer's name of a metric to ours, or None to skip it."""
    tokens: Callable[[int, Any], int]
    """Returns the training tokens after a step, given the step and the trainer's state."""


def check_stage(settings: TrainingSettings, stage: Stage, *, evaluates: bool = False) -> None:
    """Raise `UserError` for settings out of bounds, and as the checks below."""
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
    """Raise `UserError` if the package that `report_to` names is not installed."""
    if report_to == "none":
        return
    from transformers.integrations import get_available_reporting_integrations

    if report_to not in get_available_reporting_integrations():
        raise UserError(
            f'stage "{stage}": report_to is {report_to}, which is not installed',
            hint=f"install it (pip install {report_to.replace('_', '-')}), or set report_to=none",
        )


def check_lora(lora: LoraSettings) -> None:
    """Raise `UserError` for full fine-tuning of 4-bit weights."""
    if lora.load_in_4bit and lora.r == 0:
        raise UserError(
            "lora.load_in_4bit is true and lora.r is 0: 4-bit weights cannot be trained",
            hint="set lora.r=16 to train an adapter, or lora.load_in_4bit=false",
        )


def check_stopping(settings: TrainingSettings, stage: str, *, evaluates: bool) -> None:
    """Raise `UserError` if early stopping needs an evaluation set but there is none (`evaluates`).

    Also raises it as `check_report_to` does.
    """
    check_report_to(settings.report_to, stage)
    if settings.stops_on_evaluation and not evaluates:
        raise UserError(
            f'stage "{stage}": metric_for_best_model is "{settings.metric_for_best_model}", but there is no '
            "evaluation set",
            hint="set data.held_out, or use a training metric such as loss or reward",
        )


def train_batch_size(settings: TrainingSettings) -> int:
    """Return the number of rows per optimizer step, over all devices."""
    return settings.per_device_train_batch_size * settings.gradient_accumulation_steps * process_count()


def peft_config(lora: LoraSettings) -> Any:
    """Return PEFT's configuration of a new adapter, or None for full fine-tuning."""
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
