"""One stage over an unmodified TRL trainer: the arguments they share, and training from start to result.

What is ours stands around the trainer: an order of rows fixed beforehand (`schedule`), checkpoints that a
kill cannot spoil (`checkpoints`), metrics, early stop and progress (`watch`), the forward that computes
shared prefixes once (`sharing`). Killed at any moment and resumed, a stage on one process and the same
number of threads ends with the same weights, bit for bit, as if it had been left alone.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from personakit.config.training import TrainingSettings
from personakit.training.checkpoints import newest_complete
from personakit.training.early_stop import EarlyStopState, TargetWatch
from personakit.training.memory import Workload, sharding_of_launch, shared_fraction
from personakit.training.out_of_memory import out_of_memory, plan_memory
from personakit.training.precision import Precision, decide_precision
from personakit.training.processes import from_first, process_count, wait_for_all
from personakit.training.progress import Staged
from personakit.training.sharing import share
from personakit.training.stage import TENSORBOARD, Stage, StageMetrics
from personakit.training.weights import Trainable, is_adapted, remove_checkpoints, save_result


@dataclass(frozen=True, slots=True)
class Finetuned:
    """What a stage leaves behind."""

    model: Path
    """A folder that transformers (all weights) or PEFT (LoRA) loads."""
    steps: int
    """Optimizer steps that were made; with an early stop fewer than were planned."""
    tokens: int
    """Training tokens of these steps, without padding. Give a control the same as `max_tokens`."""
    examples: int
    """Different examples, pairs or prompts."""
    cut: int
    """Examples whose prompt was cut to fit `max_length`."""
    best_step: int | None = None
    """With an early stop: the step whose weights these are."""
    best_value: float | None = None
    """With an early stop: its metric at that step."""


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """What a stage is trained from."""

    base: str
    """The model that it starts from, as the model card names it."""
    examples: int
    """Different examples, pairs or prompts."""
    cut: int
    """Examples whose prompt was cut to fit `max_length`."""
    facts: Mapping[str, Any]
    """For the model card, and for the stage's entry in run.json."""


def stage_result(stage: Stage) -> Finetuned | None:
    """Return what a stage that is done has left, or None while it is not."""
    done = stage.run.stage_done(stage.name)
    if done is None:
        return None
    remove_checkpoints(stage.run, stage.name)  # a kill may have left them
    kept: dict[str, Any] = {name: done.get(name) for name in Finetuned.__dataclass_fields__}
    return Finetuned(**kept | {"model": stage.run.folder / done["model"]})


def decide_and_record(stage: Stage) -> Precision:
    """Decide device and dtype, and write them into run.json with the reason."""
    precision = decide_precision(stage.device, stage.dtype)
    stage.run.record(device=precision.device, dtype=precision.dtype, precision_reason=precision.reason)
    return precision


def common_arguments(
    settings: TrainingSettings,
    precision: Precision,
    stage: Stage,
    *,
    steps: int,
    block: int = 1,
    evaluates: bool = False,
) -> dict[str, Any]:
    """Return the keyword arguments that every TRL configuration of ours is made with.

    `block`: logs, evaluations and checkpoints fall on multiples of so many steps.
    """
    on_cpu = precision.device == "cpu"
    log_every = _rounded_up(min(settings.logging_steps, steps), block)
    arguments: dict[str, Any] = {
        "output_dir": stage.checkpoints,
        "seed": stage.run.seed,
        "max_steps": steps,
        "per_device_train_batch_size": settings.per_device_train_batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.lr_scheduler_type,
        "warmup_steps": round(settings.warmup_ratio * steps),
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "bf16": precision.bf16,
        "use_cpu": on_cpu,
        "activation_checkpointing": settings.gradient_checkpointing,  # its new name
        "ddp_find_unused_parameters": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": not on_cpu,
        "logging_steps": log_every,
        "save_steps": _rounded_up(settings.save_steps, log_every),
        # A checkpoint counts from its marker on: one that is whole must stay while the next is written.
        "save_total_limit": 2 if settings.metric_for_best_model is None else 3,
        "report_to": settings.report_to,
        "disable_tqdm": True,
    }
    if evaluates:
        arguments |= {
            "eval_strategy": "steps",
            "eval_steps": _rounded_up(settings.eval_steps or settings.save_steps, log_every),
            "per_device_eval_batch_size": settings.per_device_train_batch_size,
            "prediction_loss_only": True,
        }
    return arguments


def plan(
    start: Trainable,
    settings: TrainingSettings,
    precision: Precision,
    stage: Stage,
    *,
    rows: int,
    prompt: int,
    answer: int,
    sharing: int = 1,
    reference: bool = False,
    decoded_rows: int = 0,
) -> Workload:
    """Estimate the stage's memory before it starts (run.json, a warning on stderr); see `memory.Workload`.

    `prompt` and `answer` are the longest, in tokens; `sharing` rows of a pass have the same prompt.
    """
    from personakit.models.shared_prefix.check import obstacle

    causal = start.network.get_base_model() if is_adapted(start.network) else start.network
    shared = settings.shared_prefix and obstacle(causal) is None
    work = Workload(
        rows=rows,
        length=prompt + answer,
        scored=answer + 1,
        lora=stage.lora,
        dtype=precision.dtype,
        gradient_checkpointing=settings.gradient_checkpointing,
        reference=reference,
        decoded_rows=decoded_rows,
        prefix_factor=shared_fraction(prompt, answer, sharing) if shared else 1.0,
        device=precision.device,
        devices=process_count(),
        sharding=sharding_of_launch(),
    )
    plan_memory(start.network.config, work, stage.run, stage.name)
    return work


def fit(
    trainer: Any,
    settings: TrainingSettings,
    stage: Stage,
    source: TrainedOn,
    *,
    meter: StageMetrics,
    work: Workload,
    on_resume: Callable[[int], None] = lambda step: None,
    adapters: Sequence[str] = ("default",),
) -> Finetuned:
    """Train a trainer that is ready, from the newest checkpoint if there is one, and save what it made.

    `on_resume` is called with the step that the stage begins at. Of a `PeftModel` these `adapters` are the
    result (`save_result`).
    """
    from transformers import PrinterCallback
    from transformers.integrations import TensorBoardCallback

    from personakit.training.watch import Watch  # imports transformers

    trainer.remove_callback(PrinterCallback)  # prints metrics on stdout, which is for data
    if settings.shared_prefix:
        share(trainer)
    run = stage.run
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback):
            callback.logging_dir = str(run.folder / TENSORBOARD / stage.name)
    checkpoint = from_first(lambda: newest_complete(run.checkpoints(stage.name)))
    began = checkpoint[1] if checkpoint else 0
    run.rewind_metrics(stage.name, began)
    on_resume(began)
    wait_for_all()
    best = _best_so_far(settings, stage)
    if best is not None:
        # The trainer itself loads the step that `Watch` names, under whatever engine it trains.
        trainer.args.load_best_model_at_end = True
    with Staged(stage.progress, stage.name, trainer.args.max_steps, began) as reporter:
        trainer.add_callback(Watch(run, stage.name, meter, reporter, best, _target(stage)))
        with out_of_memory(work, stage.name), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TRL's use of old names in transformers
            trainer.train(resume_from_checkpoint=str(checkpoint[0]) if checkpoint else None)

    steps = trainer.state.global_step
    result = Finetuned(
        model=run.folder / stage.output,
        steps=steps,
        tokens=meter.tokens(steps, trainer.state),
        examples=source.examples,
        cut=source.cut,
        best_step=best.best_step if best else None,
        best_value=best.best_value if best else None,
    )
    shown = {"examples": source.examples} | dict(source.facts) | {"tokens": result.tokens, "steps": steps}
    if result.best_step is not None:
        shown["weights of step"] = result.best_step
    save_result(
        trainer,
        stage,
        base=source.base,
        facts=shown,
        settings=stage.recorded(settings),
        adapters=adapters,
    )
    done = asdict(result) | dict(source.facts) | {"model": stage.output, "base": source.base}
    run.mark_stage(stage.name, done)
    remove_checkpoints(run, stage.name)
    trainer.accelerator.wait_for_everyone()
    return result


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silence what `datasets` and TRL say while a trainer is built: bars, and old names in transformers."""
    from datasets import disable_progress_bars, enable_progress_bars
    from datasets.utils import are_progress_bars_disabled

    before, drawn = os.environ.get("TQDM_DISABLE"), not are_progress_bars_disabled()
    os.environ["TQDM_DISABLE"] = "1"
    disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before
        if drawn:
            enable_progress_bars()


def _best_so_far(settings: TrainingSettings, stage: Stage) -> EarlyStopState | None:
    if settings.metric_for_best_model is None:
        return None
    best = EarlyStopState(settings)
    best.replay(stage.run.folder / "metrics.jsonl", stage.name)
    return best


def _target(stage: Stage) -> TargetWatch | None:
    if stage.target is None:
        return None
    target = TargetWatch(stage.target)
    target.replay(stage.run.folder / "metrics.jsonl", stage.name)
    return target


def _rounded_up(count: int, unit: int) -> int:
    return -(-count // unit) * unit
