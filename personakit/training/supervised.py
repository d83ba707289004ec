"""Supervised fine-tuning: prompts with their answers, the loss on the answers, over TRL's SFTTrainer.

The trainer is unmodified and sees tokens as at inference (`personakit.models.tokens`) in an order fixed
beforehand (`schedule`). What surrounds it is that of every stage (`fitting`).
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
    Finetuned,
    TrainedOn,
    common_arguments,
    decide_and_record,
    fit,
    plan,
    quietly,
    stage_result,
)
from personakit.training.four_bit import adapter_in_float32
from personakit.training.precision import Precision
from personakit.training.processes import process_count
from personakit.training.schedule import Schedule, make_schedule
from personakit.training.stage import Stage, StageMetrics, TooLong, check_stage, train_batch_size
from personakit.training.weights import Trainable, load_trainable

__all__ = ["Finetuned", "PromptCompletion", "examples_fingerprint", "finetune"]

_METRICS = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "entropy": "entropy",
    "mean_token_accuracy": "token_accuracy",
}


@dataclass(frozen=True, slots=True)
class PromptCompletion:
    """One training example: the loss is on `completion` and the end of sequence, given `prompt`."""

    prompt: str
    completion: str


def finetune(
    model: str,
    examples: Sequence[PromptCompletion],
    settings: TrainingSettings,
    stage: Stage,
    *,
    evaluation: Sequence[PromptCompletion] = (),
) -> Finetuned:
    """Fine-tune `model` on `examples`; leave the result in the stage's output folder.

    `model` is a folder, a hub name or `nano`. A stage that is done returns at once what it left; one
    that was cut off goes on from its last whole checkpoint. The loss on `evaluation` is logged every
    `eval_steps`. Raises `UserError` for examples that cannot be trained on.
    """
    done = stage_result(stage)
    if done is not None:
        return done
    if not examples:
        raise UserError(f'stage "{stage.name}" has no examples', hint="check what the filters left over")
    check_stage(settings, stage, evaluates=bool(evaluation))
    silence_libraries()
    precision = decide_and_record(stage)
    start = load_trainable(model, stage.lora, precision)
    rows, labels, cut = _tokenized(start.tokenizer, examples, stage.max_length, stage.too_long)
    judged = _tokenized(start.tokenizer, evaluation, stage.max_length, stage.too_long)[:2]
    schedule = make_schedule(
        [len(row) for row in rows],
        batch_size=train_batch_size(settings),
        seed=stage.run.seed,
        epochs=settings.num_train_epochs,
        max_steps=settings.max_steps,
        max_tokens=stage.max_tokens,
        group_by_length=stage.group_by_length,
    )
    work = plan(
        start,
        settings,
        precision,
        stage,
        rows=settings.per_device_train_batch_size,
        prompt=max(label.count(-100) for label in labels),
        answer=max(len(label) - label.count(-100) for label in labels),
    )
    trainer = _trainer(start, (rows, labels), judged, schedule, settings, precision, stage)
    return fit(
        trainer,
        settings,
        stage,
        TrainedOn(model, len(rows), cut, {"examples_fingerprint": examples_fingerprint(examples)}),
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
    """Token ids, labels (-100 on the prompt), and how many prompts were cut."""
    prompts = encode_prompts(tokenizer, [example.prompt for example in examples])
    answers = encode_answers(tokenizer, [example.completion for example in examples])
    rows, labels, cut = [], [], 0
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True), start=1):
        room = max_length - len(answer)
        if len(prompt) > room:
            if too_long == "error" or room < 1:
                raise UserError(
                    f"example {number} has {len(prompt)} + {len(answer)} tokens (prompt + answer), "
                    f"expected at most {max_length}",
                    hint="raise max_length, shorten the history, or set too_long=cut",
                )
            prompt = cut_middle(prompt, room)
            cut += 1
        rows.append(prompt + answer)
        labels.append([-100] * len(prompt) + answer)
    return rows, labels, cut


def _trainer(
    start: Trainable,
    trained: tuple[list[list[int]], list[list[int]]],
    judged: tuple[list[list[int]], list[list[int]]],
    schedule: Schedule,
    settings: TrainingSettings,
    precision: Precision,
    stage: Stage,
) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows, labels = trained
    shown, wanted = [rows[at] for at in schedule.order], [labels[at] for at in schedule.order]
    batch_size = train_batch_size(settings)
    short = -len(shown) % batch_size
    if short and process_count() > 1:
        # accelerate would repeat rows to give every process as many: rows without labels weigh nothing.
        shown, wanted = _filled(shown, wanted, short, batch_size)
    arguments = SFTConfig(
        **common_arguments(settings, precision, stage, steps=schedule.steps, evaluates=bool(judged[0])),
        # The order is ours, the tokens are ours: TRL has nothing to prepare.
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
    )
    with quietly(), adapter_in_float32(start.network):
        return SFTTrainer(
            start.network,
            args=arguments,
            train_dataset=Dataset.from_dict({"input_ids": shown, "labels": wanted}),
            eval_dataset=Dataset.from_dict({"input_ids": judged[0], "labels": judged[1]})
            if judged[0]
            else None,
            processing_class=start.tokenizer,
            peft_config=start.adapter,
        )


def _filled(
    rows: list[list[int]], labels: list[list[int]], short: int, batch_size: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Fill the last batch with `short` rows that carry no label, spread over it."""
    first = len(rows) - len(rows) % batch_size
    last = list(zip(rows[first:], labels[first:], strict=True))
    blank = (rows[-1][:1], [-100])
    # At even distances, so that every device's share of the batch holds as many.
    places = [round(place * batch_size / len(last)) for place in range(len(last))]
    batch = [blank] * batch_size
    for place, pair in zip(places, last, strict=True):
        batch[place] = pair
    return rows[:first] + [row for row, _ in batch], labels[:first] + [label for _, label in batch]
