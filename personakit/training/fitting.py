"""Trains one stage with an unmodified TRL trainer: shared arguments, memory plan, training, saving.

Around the trainer are a fixed order of rows (`schedule`), crash-safe checkpoints (`checkpoints`), metrics,
early stopping and progress (`watch`), and a forward pass that computes shared prefixes once (`sharing`). A
stage that is killed at any moment and resumed ends with bit-identical weights, given one process and the same
number of threads.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from personakit.config.training import TrainingSettings
from personakit.training.checkpoints import newest_complete
from personakit.training.disk import disk_errors
from personakit.training.early_stop import EarlyStopState, TargetState, logged_lines
from personakit.training.finite import require_finite_weights, watch_finite
from personakit.training.flat_rewards import METRIC
from personakit.training.memory import Workload, sharding_of_launch, shared_fraction
from personakit.training.out_of_memory import out_of_memory, plan_memory
from personakit.training.precision import Precision, decide_precision
from personakit.training.processes import from_main_process, process_count, wait_for_everyone
from personakit.training.progress import report_stage
from personakit.training.sharing import share_trainer_prefixes
from personakit.training.stage import TENSORBOARD, Stage, StageMetrics
from personakit.training.weights import Trainable, is_adapted, remove_checkpoints, save_result


@dataclass(frozen=True, slots=True)
class StageResult:
    """The result of a stage."""

    model: Path
    """A folder that transformers (all weights) or PEFT (LoRA) can load."""
    steps: int
    """Optimizer steps, fewer than planned after an early stop."""
    tokens: int
    """Training tokens of these steps, without padding; a control gets the same as `max_tokens`."""
    examples: int
    """Different examples, pairs or prompts."""
    cut: int
    """Examples whose prompt was cut to fit `max_length`."""
    best_step: int | None = None
    """With early stopping: the step of the saved weights."""
    best_value: float | None = None
    """With early stopping: the metric at that step."""


@dataclass(frozen=True, slots=True)
class TrainingSource:
    """The base model and data of a stage."""

    base: str
    """The initial model, as named in the model card."""
    examples: int
    """Different examples, pairs or prompts."""
    cut: int
    """Examples whose prompt was cut to fit `max_length`."""
    facts: Mapping[str, Any]
    """Further entries for the model card and for the stage's entry in run.json."""


def stage_result(stage: Stage) -> StageResult | None:
    """Return the result of a finished stage, or None."""
    done = stage.run.stage_done(stage.name)
    if done is None:
        return None
    remove_checkpoints(stage.run, stage.name)  # left over if the process was killed here
    kept: dict[str, Any] = {name: done.get(name) for name in StageResult.__dataclass_fields__}
    return StageResult(**kept | {"model": stage.run.folder / done["model"]})


def record_precision(stage: Stage) -> Precision:
    """Decide device and dtype, and record them in run.json with the reason."""
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
    """Return the keyword arguments shared by all TRL configurations.

    Logs, evaluations and checkpoints happen at multiples of `block` steps.
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
        "activation_checkpointing": settings.gradient_checkpointing,  # the new name of gradient_checkpointing
        "ddp_find_unused_parameters": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": not on_cpu,
        "logging_steps": log_every,
        "save_steps": _rounded_up(settings.save_steps, log_every),
        # Keep a complete checkpoint while the next one is written; it counts only with its marker.
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


def plan_stage_memory(
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
    """Estimate the stage's memory, record it in run.json, and warn on stderr if it does not fit.

    `rows` is the number of sequences per forward pass, of which `sharing` each have the same prompt; `prompt`
    and `answer` are maximum lengths in tokens. The rest is as in `memory.Workload`, which is returned.
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
    source: TrainingSource,
    *,
    meter: StageMetrics,
    work: Workload,
    on_resume: Callable[[int], None] = lambda step: None,
    adapters: Sequence[str] = ("default",),
) -> StageResult:
    """Train, from the newest checkpoint if there is one, and save the result.

    `on_resume` is called with the first step. Of a `PeftModel`, these `adapters` are saved (`save_result`).
    """
    from transformers import PrinterCallback
    from transformers.integrations import TensorBoardCallback

    from personakit.training.watch import StageCallback  # imports transformers

    trainer.remove_callback(PrinterCallback)  # it prints metrics on stdout, which is reserved for results
    if settings.shared_prefix:
        share_trainer_prefixes(trainer)
    run = stage.run
    watch_finite(trainer, settings, run, stage.name)
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback):
            callback.logging_dir = str(run.folder / TENSORBOARD / stage.name)
    checkpoint = from_main_process(lambda: newest_complete(run.checkpoints(stage.name)))
    began = checkpoint[1] if checkpoint else 0
    run.rewind_metrics(stage.name, began)
    on_resume(began)
    wait_for_everyone()
    best = _best_so_far(settings, stage)
    if best is not None:
        # The trainer itself loads the best step, which `StageCallback` sets, also under FSDP and DeepSpeed.
        trainer.args.load_best_model_at_end = True
    with report_stage(stage.progress, stage.name, trainer.args.max_steps, began) as reporter:
        callback = StageCallback(run, stage.name, meter, reporter, best, _target(stage))
        callback.before_save = lambda: require_finite_weights(trainer, settings, run, stage.name)
        trainer.add_callback(callback)
        with (
            out_of_memory(work, stage.name),
            disk_errors(f'stage "{stage.name}": a checkpoint'),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", FutureWarning)  # TRL uses deprecated names of transformers
            trainer.train(resume_from_checkpoint=str(checkpoint[0]) if checkpoint else None)
        require_finite_weights(trainer, settings, run, stage.name)

    steps = trainer.state.global_step
    result = StageResult(
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
    with disk_errors(f'stage "{stage.name}": its result'):
        save_result(
            trainer,
            stage,
            base=source.base,
            facts=shown,
            settings=stage.recorded(settings),
            adapters=adapters,
        )
    done = asdict(result) | dict(source.facts) | {"model": stage.output, "base": source.base}
    if run.writes:
        if source.cut:
            print(
                f'stage "{stage.name}": {source.cut} of {source.examples} prompts were cut to fit max_length '
                f"{stage.max_length}",
                file=sys.stderr,
            )
        flat = callback.flat_rewards.share(logged_lines(run.folder / "metrics.jsonl", stage.name))
        done |= {} if flat is None else {METRIC: round(flat, 4)}
    run.mark_stage(stage.name, done)
    remove_checkpoints(run, stage.name)
    trainer.accelerator.wait_for_everyone()
    return result


@contextlib.contextmanager
def silenced_trl() -> Iterator[None]:
    """Suppress progress bars of `datasets` and deprecation warnings of TRL while a trainer is created."""
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


def _target(stage: Stage) -> TargetState | None:
    if stage.target is None:
        return None
    target = TargetState(stage.target)
    target.replay(stage.run.folder / "metrics.jsonl", stage.name)
    return target


def _rounded_up(count: int, unit: int) -> int:
    return -(-count // unit) * unit
