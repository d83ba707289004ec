"""Supervised fine-tuning on prompts and answers, with the loss on the answers, with TRL's SFTTrainer.

The unmodified trainer gets texts tokenized as at inference (`personakit.models.tokens`) in a fixed order
(`schedule`); the rest is shared by all stages (`fitting`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from personakit.config.training import TrainingSettings
from personakit.errors import UserError
from personakit.models.environment import silence_libraries
from personakit.models.tokens import cut_middle, encode_answers, encode_prompts
from personakit.training.fitting import (
    StageResult,
    TrainingSource,
    common_arguments,
    fit,
    plan_stage_memory,
    record_precision,
    silenced_trl,
    stage_result,
)
from personakit.training.four_bit import adapter_in_float32
from personakit.training.precision import Precision
from personakit.training.processes import process_count
from personakit.training.schedule import Schedule, make_schedule
from personakit.training.stage import Stage, StageMetrics, TooLong, check_stage, train_batch_size
from personakit.training.weights import Trainable, load_trainable

__all__ = ["PromptCompletion", "StageResult", "examples_fingerprint", "finetune"]

_METRICS = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "entropy": "entropy",
    "mean_token_accuracy": "token_accuracy",
}


@dataclass(frozen=True, slots=True)
class PromptCompletion:
    """A training example; the loss is on `completion` and the end-of-sequence token."""

    prompt: str
    completion: str


def finetune(
    model: str,
    examples: Sequence[PromptCompletion],
    settings: TrainingSettings,
    stage: Stage,
    *,
    evaluation: Sequence[PromptCompletion] = (),
) -> StageResult:
    """Fine-tune `model` on `examples`; save the result in the stage's output folder.

    `model` is a folder, a model on the Hugging Face Hub, or `nano`. A finished stage returns its result at
    once; an interrupted one continues from its newest complete checkpoint. The loss on `evaluation` is logged
    every `eval_steps`. Raises `UserError` for invalid settings or examples.
    """
    done = stage_result(stage)
    if done is not None:
        return done
    if not examples:
        raise UserError(f'stage "{stage.name}" has no examples', hint="check the filters")
    check_stage(settings, stage, evaluates=bool(evaluation))
    silence_libraries()
    precision = record_precision(stage)
    start = load_trainable(model, stage.lora, precision)
    rows, labels, cut = _tokenized(start.tokenizer, examples, stage.max_length, stage.too_long)
    evaluated_rows = _tokenized(start.tokenizer, evaluation, stage.max_length, stage.too_long)[:2]
    schedule = make_schedule(
        [len(row) for row in rows],
        batch_size=train_batch_size(settings),
        seed=stage.run.seed,
        epochs=settings.num_train_epochs,
        max_steps=settings.max_steps,
        max_tokens=stage.max_tokens,
        group_by_length=stage.group_by_length,
    )
    work = plan_stage_memory(
        start,
        settings,
        precision,
        stage,
        rows=settings.per_device_train_batch_size,
        prompt=max(label.count(-100) for label in labels),
        answer=max(len(label) - label.count(-100) for label in labels),
    )
    trainer = _trainer(start, (rows, labels), evaluated_rows, schedule, settings, precision, stage)
    return fit(
        trainer,
        settings,
        stage,
        TrainingSource(model, len(rows), cut, {"examples_fingerprint": examples_fingerprint(examples)}),
        meter=StageMetrics(_METRICS.get, lambda step, state: schedule.tokens_after(step)),
        work=work,
    )


def examples_fingerprint(examples: Sequence[PromptCompletion]) -> str:
    """Return a digest of the examples and their order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(f"{len(example.prompt)}\0{example.prompt}\0{example.completion}\0".encode())
    return digest.hexdigest()


def _tokenized(
    tokenizer: Any, examples: Sequence[PromptCompletion], max_length: int, too_long: TooLong = "error"
) -> tuple[list[list[int]], list[list[int]], int]:
    """Return token ids, labels (-100 on the prompt), and the number of prompts that were cut."""
    prompts = encode_prompts(tokenizer, [example.prompt for example in examples])
    answers = encode_answers(tokenizer, [example.completion for example in examples])
    rows, labels, cut = [], [], 0
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True), start=1):
        max_prompt = max_length - len(answer)
        if len(prompt) > max_prompt:
            if too_long == "error" or max_prompt < 1:
                raise UserError(
                    f"example {number} has {len(prompt)} + {len(answer)} tokens (prompt + answer), "
                    f"expected at most {max_length}",
                    hint="raise max_length, shorten the history, or set too_long=cut",
                )
            prompt = cut_middle(prompt, max_prompt)
            cut += 1
        rows.append(prompt + answer)
        labels.append([-100] * len(prompt) + answer)
    return rows, labels, cut


def _trainer(
    start: Trainable,
    trained: tuple[list[list[int]], list[list[int]]],
    evaluated_rows: tuple[list[list[int]], list[list[int]]],
    schedule: Schedule,
    settings: TrainingSettings,
    precision: Precision,
    stage: Stage,
) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows, labels = trained
    ordered, ordered_labels = [rows[at] for at in schedule.order], [labels[at] for at in schedule.order]
    batch_size = train_batch_size(settings)
    short = -len(ordered) % batch_size
    if short and process_count() > 1:
        # accelerate repeats rows so that all processes have the same number; rows without labels have no
        # effect.
        ordered, ordered_labels = _filled(ordered, ordered_labels, short, batch_size)
    arguments = SFTConfig(
        **common_arguments(
            settings, precision, stage, steps=schedule.steps, evaluates=bool(evaluated_rows[0])
        ),
        # Rows are already tokenized and ordered.
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
    )
    with silenced_trl(), adapter_in_float32(start.network):
        return SFTTrainer(
            start.network,
            args=arguments,
            train_dataset=Dataset.from_dict({"input_ids": ordered, "labels": ordered_labels}),
            eval_dataset=Dataset.from_dict({"input_ids": evaluated_rows[0], "labels": evaluated_rows[1]})
            if evaluated_rows[0]
            else None,
            processing_class=start.tokenizer,
            peft_config=start.adapter,
        )


def _filled(
    rows: list[list[int]], labels: list[list[int]], short: int, batch_size: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Fill the last batch with `short` rows without labels, spread evenly."""
    start = len(rows) - len(rows) % batch_size
    last = list(zip(rows[start:], labels[start:], strict=True))
    blank = (rows[-1][:1], [-100])
    # Evenly spaced, so that every device gets the same number of labelled rows.
    places = [round(place * batch_size / len(last)) for place in range(len(last))]
    batch = [blank] * batch_size
    for place, pair in zip(places, last, strict=True):
        batch[place] = pair
    return rows[:start] + [row for row, _ in batch], labels[:start] + [label for _, label in batch]
