"""Supervised fine-tuning: prompts with their answers, the loss on the answers, over TRL's SFTTrainer.

The trainer is unmodified; what is ours stands around it: tokens as at inference
(`personakit.models.tokens`), an order of examples fixed beforehand (`schedule`), checkpoints that a
kill cannot spoil (`checkpoints`), and on a CPU a head that scores the answers only (`answer_head`).
Killed at any moment and resumed, a run on one process and the same number of threads ends with the
same weights, bit for bit, as if it had been left alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from personakit.errors import UserError
from personakit.files import whole_folder
from personakit.models.environment import keep_quiet
from personakit.models.local import load_pretrained
from personakit.models.open import resolve_model
from personakit.models.tokens import cut_middle, encode_answers, encode_prompts
from personakit.training.answer_head import score_answers_only
from personakit.training.card import write_card
from personakit.training.checkpoints import newest_complete
from personakit.training.precision import Precision, decide_precision
from personakit.training.progress import Progress, Silent, Staged
from personakit.training.run import Run
from personakit.training.schedule import Schedule, make_schedule


@dataclass(frozen=True, slots=True)
class PromptCompletion:
    """One training example: the loss is on `completion` and the end of sequence, given `prompt`."""

    prompt: str
    completion: str


@dataclass(frozen=True, slots=True)
class SupervisedSettings:
    """How to fine-tune. Nothing here comes from a paper: none of the three published its settings."""

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
    """Examples per optimizer step, over all devices together."""
    micro_batch_size: int | None = None
    """Examples on one device at a time; None: as many as `batch_size` asks, without accumulation."""
    lora_rank: int = 0
    """0 trains all weights."""
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    lora_targets: str | Sequence[str] = "all-linear"
    """PEFT's `target_modules`: names of layers, or "all-linear", which is all of them but the head."""
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    max_length: int = 1024
    """Longest example in tokens, prompt and answer together."""
    too_long: Literal["error", "cut"] = "error"
    """What to do with a longer one: refuse, or cut the middle out of its prompt."""
    group_by_length: bool = True
    checkpoint_every: int = 200
    """Steps; rounded up to a multiple of `log_every`, so that a resumed run logs the same means."""
    log_every: int = 10
    gradient_checkpointing: bool | None = None
    """None: on a GPU yes (less memory), on a CPU no."""
    device: str = "auto"
    dtype: str = "auto"


@dataclass(frozen=True, slots=True)
class Finetuned:
    """What a supervised stage leaves behind."""

    model: Path
    """A folder that transformers (all weights) or PEFT (LoRA) loads."""
    steps: int
    tokens: int
    """Training tokens: prompt and answer, without padding. Give a control the same as `max_tokens`."""
    examples: int
    cut: int
    """Examples whose prompt was cut to fit `max_length`."""


def finetune(
    model: str,
    examples: Sequence[PromptCompletion],
    settings: SupervisedSettings,
    run: Run,
    stage: str,
    *,
    progress: Progress | None = None,
    output: str = "model",
) -> Finetuned:
    """Fine-tune `model` on `examples`; leave the result in `run.folder/output`.

    `model` is a folder, a hub name or `nano`. A stage that is done returns at once what it left; one
    that was cut off goes on from its last whole checkpoint. Two stages of one run need two names and two
    `output`s. Raises `UserError` for examples that cannot be trained on.
    """
    done = run.stage_done(stage)
    if done is not None:
        shutil.rmtree(run.checkpoints(stage), ignore_errors=True)  # a kill may have left them
        return _finetuned(run, done)
    if not examples:
        raise UserError(f'stage "{stage}" has no examples', hint="check what the filters left over")
    _check_settings(settings)
    keep_quiet()
    precision = decide_precision(settings.device, settings.dtype)
    run.record(device=precision.device, dtype=precision.dtype, precision_reason=precision.reason)

    source = resolve_model(model)
    # Weights that train are kept in float32; under a LoRA adapter the frozen ones need no more than the pass.
    frozen = settings.lora_rank > 0 and precision.device == "cuda" and precision.bf16
    network, tokenizer, _, _ = load_pretrained(
        source, device="cpu", dtype="bfloat16" if frozen else "float32"
    )
    rows, labels, cut = _tokenized(tokenizer, examples, settings)
    schedule = make_schedule(
        [len(row) for row in rows],
        batch_size=settings.batch_size,
        seed=run.seed,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        max_tokens=settings.max_tokens,
        group_by_length=settings.group_by_length,
    )
    trainer = _trainer(network, tokenizer, rows, labels, schedule, settings, precision, run, stage)
    from personakit.training.watch import Watch  # imports transformers

    checkpoint = newest_complete(run.checkpoints(stage))
    began = checkpoint[1] if checkpoint else 0
    run.rewind_metrics(stage, began)
    with Staged(progress or Silent(), stage, schedule.steps, began) as reporter:
        trainer.add_callback(Watch(run, stage, schedule.tokens_by_step, reporter))
        trainer.train(resume_from_checkpoint=str(checkpoint[0]) if checkpoint else None)

    result = Finetuned(run.folder / output, schedule.steps, schedule.tokens, len(rows), cut)
    fingerprint = examples_fingerprint(examples)
    if trainer.is_world_process_zero():
        with whole_folder(result.model) as temporary:
            trainer.accelerator.unwrap_model(trainer.model).save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
            write_card(
                temporary,
                title=f"{run.method} {stage}",
                base=model,
                facts={"examples": len(rows), "examples sha256": fingerprint, "tokens": schedule.tokens},
                settings=asdict(settings) | {"seed": run.seed},
                adapter=settings.lora_rank > 0,
            )
        run.mark_stage(
            stage,
            asdict(result) | {"model": output, "examples_fingerprint": fingerprint, "base": model},
        )
        shutil.rmtree(run.checkpoints(stage), ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    return result


def examples_fingerprint(examples: Sequence[PromptCompletion]) -> str:
    """Return a digest of the examples and their order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(f"{len(example.prompt)}\0{example.prompt}\0{example.completion}\0".encode())
    return digest.hexdigest()


def _finetuned(run: Run, result: dict[str, Any]) -> Finetuned:
    kept = {name: result[name] for name in ("steps", "tokens", "examples", "cut")}
    return Finetuned(model=run.folder / result["model"], **kept)


def _check_settings(settings: SupervisedSettings) -> None:
    world = int(os.environ.get("WORLD_SIZE", "1"))
    micro = settings.micro_batch_size or settings.batch_size // world
    if micro < 1 or settings.batch_size % (micro * world):
        raise UserError(
            f"batch_size is {settings.batch_size}, expected a multiple of micro_batch_size x processes "
            f"({micro} x {world})",
            hint="change batch_size or micro_batch_size",
        )
    for name in ("max_steps", "max_tokens", "log_every", "checkpoint_every", "max_length"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}, expected at least 1", hint=f"set {name} to 1 or more")
    if settings.epochs <= 0:
        raise UserError(f"epochs is {settings.epochs}, expected more than 0", hint="set epochs to 1 or so")


def _tokenized(
    tokenizer: Any, examples: Sequence[PromptCompletion], settings: SupervisedSettings
) -> tuple[list[list[int]], list[list[int]], int]:
    """Token ids, labels (-100 on the prompt), and how many prompts were cut."""
    prompts = encode_prompts(tokenizer, [example.prompt for example in examples])
    answers = encode_answers(tokenizer, [example.completion for example in examples])
    rows, labels, cut = [], [], 0
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True), start=1):
        room = settings.max_length - len(answer)
        if len(prompt) > room:
            if settings.too_long == "error" or room < 1:
                raise UserError(
                    f"example {number} has {len(prompt)} + {len(answer)} tokens (prompt + answer), "
                    f"expected at most {settings.max_length}",
                    hint="raise max_length, shorten the history, or set too_long=cut",
                )
            prompt = cut_middle(prompt, room)
            cut += 1
        rows.append(prompt + answer)
        labels.append([-100] * len(prompt) + answer)
    return rows, labels, cut


def _trainer(
    network: Any,
    tokenizer: Any,
    rows: list[list[int]],
    labels: list[list[int]],
    schedule: Schedule,
    settings: SupervisedSettings,
    precision: Precision,
    run: Run,
    stage: str,
) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    on_cpu = precision.device == "cpu"
    checkpointing = settings.gradient_checkpointing
    if checkpointing is None:
        checkpointing = not on_cpu
    world = int(os.environ.get("WORLD_SIZE", "1"))
    micro = settings.micro_batch_size or settings.batch_size // world
    log_every = min(settings.log_every, schedule.steps)
    arguments = SFTConfig(
        output_dir=str(run.checkpoints(stage)),
        seed=run.seed,
        max_steps=schedule.steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=settings.batch_size // (micro * world),
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.lr_schedule,
        warmup_steps=round(settings.warmup_ratio * schedule.steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=precision.bf16,
        use_cpu=on_cpu,
        activation_checkpointing=checkpointing,  # the new name of gradient_checkpointing
        # The order is ours, the tokens are ours: TRL has nothing to prepare.
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        dataloader_num_workers=0,
        dataloader_pin_memory=not on_cpu,
        logging_steps=log_every,
        save_steps=-(-settings.checkpoint_every // log_every) * log_every,
        save_total_limit=2,
        report_to=[],
        disable_tqdm=True,
    )
    dataset = Dataset.from_dict({"input_ids": rows, "labels": labels}).select(schedule.order)
    trainer = SFTTrainer(
        network,
        args=arguments,
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=_lora(settings) if settings.lora_rank > 0 else None,
    )
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)  # prints metrics on stdout, which is for data
    if on_cpu:
        score_answers_only(trainer.model)
    return trainer


def _lora(settings: SupervisedSettings) -> Any:
    from peft import LoraConfig

    targets = settings.lora_targets
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
