"""The settings that every stage over a TRL trainer shares, and what can be wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from personakit.errors import UserError
from personakit.training.early_stop import EarlyStop, Target
from personakit.training.processes import process_count


@dataclass(frozen=True, slots=True)
class StageSettings:
    """How to train, whatever the objective. None of the three papers published its settings.

    The stages state where their own defaults come from; those here are common practice.
    """

    learning_rate: float = 1e-3
    """Peak. 1e-3 suits the built-in model and LoRA; full fine-tuning of a large model wants about 1e-5."""
    lr_schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = 0.03
    """Share of the steps over which the learning rate rises to its peak."""
    epochs: float = 1.0
    """Passes over the examples; does not bound where `max_steps` or `max_tokens` is given."""
    max_steps: int | None = None
    max_tokens: int | None = None
    """Stop at the step that reaches this many training tokens (prompt and answer, without padding)."""
    batch_size: int = 32
    """Rows (examples, pairs, completions) per optimizer step, over all devices together."""
    micro_batch_size: int | None = None
    """Rows on one device at a time; None: as many as `batch_size` asks, without accumulation."""
    lora_rank: int = 0
    """0 trains all weights; where the model is an adapter already, it is merged into them."""
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    lora_targets: str | Sequence[str] = "all-linear"
    """PEFT's `target_modules`: names of layers, or "all-linear", which is all of them but the head."""
    four_bit: bool = False
    """QLoRA: the weights under the adapter are held in four bits (`four_bit`); needs `lora_rank`."""
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    max_length: int = 1024
    """Longest row in tokens, prompt and answer together."""
    too_long: Literal["error", "cut"] = "error"
    """What to do with a longer one: refuse, or cut the middle out of its prompt."""
    group_by_length: bool = True
    shared_prefix: bool = True
    """Compute what the rows of a batch have in common once, where the model allows it."""
    checkpoint_every: int = 200
    """Steps; rounded up to a multiple of `log_every`, so that a resumed run logs the same means."""
    log_every: int = 10
    evaluate_every: int | None = None
    """Steps between evaluations where there is an evaluation set; rounded up to a multiple of `log_every`.
    None: as often as a checkpoint is written."""
    early_stop: EarlyStop | None = None
    target: Target | None = None
    gradient_checkpointing: bool | None = None
    """None: on a GPU yes (less memory), on a CPU no."""
    device: str = "auto"
    dtype: str = "auto"

    @property
    def rows_at_a_time(self) -> int:
        """Rows on one device in one forward pass."""
        return self.micro_batch_size or self.batch_size // process_count()

    @property
    def accumulation(self) -> int:
        """Forward passes that are added up before one optimizer step."""
        return self.batch_size // (self.rows_at_a_time * process_count())

    def lora(self) -> Any:
        """PEFT's configuration of a new adapter, or None where all weights train."""
        if self.lora_rank == 0:
            return None
        from peft import LoraConfig

        targets = self.lora_targets
        return LoraConfig(
            r=self.lora_rank,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            target_modules=targets if isinstance(targets, str) else list(targets),
            task_type="CAUSAL_LM",
        )


def check_settings(settings: StageSettings, *, evaluates: bool = False) -> None:
    """Raise `UserError` for values that no training can be made of.

    `evaluates`: whether there is an evaluation set, which an early stop may ask for.
    """
    world, micro = process_count(), settings.rows_at_a_time
    if micro < 1 or settings.batch_size % (micro * world):
        raise UserError(
            f"batch_size is {settings.batch_size}, expected a multiple of micro_batch_size x processes "
            f"({micro} x {world})",
            hint="change batch_size or micro_batch_size",
        )
    counts = ("max_steps", "max_tokens", "log_every", "checkpoint_every", "evaluate_every", "max_length")
    for name in counts:
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}, expected at least 1", hint=f"set {name} to 1 or more")
    if settings.epochs <= 0:
        raise UserError(f"epochs is {settings.epochs}, expected more than 0", hint="set epochs to 1 or so")
    if settings.four_bit and settings.lora_rank == 0:
        raise UserError(
            "four_bit is true and lora_rank is 0: weights in four bits cannot train",
            hint="set lora_rank=16, whose adapter trains above them, or four_bit=false",
        )
    if settings.early_stop is not None:
        settings.early_stop.check()
        if settings.early_stop.on_evaluation and not evaluates:
            raise UserError(
                f'early_stop.metric is "{settings.early_stop.metric}", and there is no evaluation set',
                hint="give one, or stop on a metric of training such as loss or reward",
            )
