"""Supervised fine-tuning: prompts with their answers, the loss on the answers, over TRL's SFTTrainer.

The trainer is unmodified and sees tokens as at inference (`personakit.models.tokens`) in an order fixed
beforehand (`schedule`). What surrounds it is that of every stage (`fitting`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from personakit.errors import UserError
from personakit.models.environment import silence_libraries
from personakit.models.tokens import cut_middle, encode_answers, encode_prompts
from personakit.training.fitting import (
    Finetuned,
    StageMetrics,
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
from personakit.training.progress import Progress
from personakit.training.run import Run
from personakit.training.schedule import Schedule, make_schedule
from personakit.training.settings import StageSettings, check_settings
from personakit.training.weights import Trainable, load_trainable

__all__ = ["Finetuned", "PromptCompletion", "SupervisedSettings", "examples_fingerprint", "finetune"]

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


@dataclass(frozen=True, slots=True)
class SupervisedSettings(StageSettings):
    """How to fine-tune: nothing beyond what all stages share."""


def finetune(
    model: str,
    examples: Sequence[PromptCompletion],
    settings: SupervisedSettings,
    run: Run,
    stage: str,
    *,
    evaluation: Sequence[PromptCompletion] = (),
    progress: Progress | None = None,
    output: str = "model",
) -> Finetuned:
    """Fine-tune `model` on `examples`; leave the result in `run.folder/output`.

    `model` is a folder, a hub name or `nano`. A stage that is done returns at once what it left; one
    that was cut off goes on from its last whole checkpoint. Two stages of one run need two names and two
    `output`s. The loss on `evaluation` is logged now and then. Raises `UserError` for examples that
    cannot be trained on.
    """
    done = stage_result(run, stage)
    if done is not None:
        return done
    if not examples:
        raise UserError(f'stage "{stage}" has no examples', hint="check what the filters left over")
    check_settings(settings, evaluates=bool(evaluation))
    silence_libraries()
    precision = decide_and_record(settings, run)
    start = load_trainable(model, settings, precision)
    rows, labels, cut = _tokenized(start.tokenizer, examples, settings)
    judged = _tokenized(start.tokenizer, evaluation, settings)[:2]
    schedule = make_schedule(
        [len(row) for row in rows],
        batch_size=settings.batch_size,
        seed=run.seed,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        max_tokens=settings.max_tokens,
        group_by_length=settings.group_by_length,
    )
    work = plan(
        start,
        settings,
        precision,
        run,
        stage,
        rows=settings.rows_at_a_time,
        prompt=max(label.count(-100) for label in labels),
        answer=max(len(label) - label.count(-100) for label in labels),
    )
    trainer = _trainer(start, (rows, labels), judged, schedule, settings, precision, run, stage)
    return fit(
        trainer,
        start.tokenizer,
        settings,
        run,
        stage,
        base=model,
        output=output,
        meter=StageMetrics(_METRICS.get, lambda step, state: schedule.tokens_after(step)),
        work=work,
        examples=len(rows),
        cut=cut,
        facts={"examples_fingerprint": examples_fingerprint(examples)},
        progress=progress,
    )


def examples_fingerprint(examples: Sequence[PromptCompletion]) -> str:
    """Return a digest of the examples and their order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(f"{len(example.prompt)}\0{example.prompt}\0{example.completion}\0".encode())
    return digest.hexdigest()


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
    start: Trainable,
    trained: tuple[list[list[int]], list[list[int]]],
    judged: tuple[list[list[int]], list[list[int]]],
    schedule: Schedule,
    settings: SupervisedSettings,
    precision: Precision,
    run: Run,
    stage: str,
) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows, labels = trained
    shown, wanted = [rows[at] for at in schedule.order], [labels[at] for at in schedule.order]
    short = -len(shown) % settings.batch_size
    if short and process_count() > 1:
        # accelerate would repeat rows to give every process as many: rows without labels weigh nothing.
        shown, wanted = _filled(shown, wanted, short, settings.batch_size)
    arguments = SFTConfig(
        **common_arguments(settings, precision, run, stage, steps=schedule.steps, evaluates=bool(judged[0])),
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
