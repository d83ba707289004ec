"""`personakit train popi`: prompts from users' signals, warm starts, the joint stage, and controls.

A resumed run skips completed stages. The warm starts are in `warm/`, the result in `model/inference` and
`model/generator`, the controls in `controls/`. A summary's reward uses only pairs that it was not inferred
from: the data separates them (`records.PreferenceUser`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from personakit.config.train_popi import TrainPOPI
from personakit.data.preferences import PreferenceStore, open_preferences
from personakit.errors import UserError
from personakit.models.cost import token_counter
from personakit.models.open import resolve_model
from personakit.popi.adapters import Role
from personakit.popi.joint import train_jointly
from personakit.popi.rows import SummarisedUser, WithSummary
from personakit.popi.schedule import check_joint
from personakit.popi.trained_controls import (
    FROZEN,
    FROZEN_FOLDER,
    ORACLE,
    ORACLE_FOLDER,
    POPULATION,
    POPULATION_FOLDER,
    WARM_POPULATION,
    optimise_generator,
)
from personakit.popi.warm_start import generator_examples, inference_examples, template_summary
from personakit.records import PreferenceUser
from personakit.tasks.signals import SignalWording, prompt_with_summary, signal_wording, summary_prompt
from personakit.training.fitting import StageResult
from personakit.training.four_bit import require_four_bit
from personakit.training.preference import TrainingPair
from personakit.training.processes import local_main_process_first
from personakit.training.progress import Progress
from personakit.training.run import Run
from personakit.training.stage import Stage, check_stopping
from personakit.training.supervised import PromptCompletion, finetune
from personakit.training.training_digests import record_trained_on, training_digest

JOINT = "joint"
WARM_INFERENCE = "warm-inference"
WARM_GENERATOR = "warm-generator"
WARM_FOLDER = Path("warm")


def train_popi(config: TrainPOPI, run: Run, progress: Progress) -> StageResult:
    """Train an inference model and a generator into `run`; return the result of the joint stage.

    Raises `UserError` for conflicting settings, and for data with nothing to train on.
    """
    check_plan(config)
    store = _store(config)
    if run.facts.get("data_fingerprint", store.fingerprint) != store.fingerprint:
        raise UserError(
            f"{config.data.path} has changed since {run.folder} was started",
            hint="restore the data, or start a new run",
        )
    run.record(
        data_fingerprint=store.fingerprint,
        preference_task=store.task,
        preferences_skipped={reason: skip.count for reason, skip in store.skipped.items()},
    )
    people = list(store)
    record_trained_on(
        run,
        (training_digest(pair.prompt, pair.chosen, pair.user_id) for each in people for pair in each.pairs),
    )
    return train_on_users(config, people, signal_wording(store.task), run, progress)


def count_users(config: TrainPOPI) -> tuple[dict[str, int], dict[str, int]]:
    """Return counts of the training data, and of the skipped rows by reason, without training."""
    store = _store(config)
    _, counts = summarised(config, list(store), signal_wording(store.task), token_counter(config.model))
    return dict(counts), {reason: skip.count for reason, skip in store.skipped.items()}


def _store(config: TrainPOPI) -> PreferenceStore:
    with local_main_process_first():  # may generate the built-in data
        store = open_preferences(config.data.path, "train")
    return store if config.data.limit is None else store.subset(config.data.limit)


def train_on_users(
    config: TrainPOPI, people: Sequence[PreferenceUser], wording: SignalWording, run: Run, progress: Progress
) -> StageResult:
    """Train as `train_popi` on users in memory, with prompts worded by `wording`."""
    count_tokens = token_counter(config.model)
    with_summary: WithSummary = partial(prompt_with_summary, wording=wording)
    if config.controls.oracle_generator and not any(person.persona for person in people):
        raise UserError(
            f"controls.oracle_generator is true, but {config.data.path} has no personas",
            hint="set controls.oracle_generator=false",
        )
    users, counts = summarised(config, people, wording, count_tokens)
    run.record(users=dict(counts))
    held_out = config.data.held_out
    if held_out >= len(users):
        raise UserError(
            f"data.held_out is {held_out}, expected less than the {len(users)} users of the training split",
            hint="lower data.held_out, or raise max_length if users were skipped for their length",
        )
    trained, evaluation = users[: len(users) - held_out], users[len(users) - held_out :]
    stage = _stage(config, run, progress)
    warm: dict[Role, Path] = {}
    if config.warm_start.enabled:
        warm = _warm_starts(config, people, trained, with_summary, count_tokens, stage)
    train = partial(train_jointly, config.model, trained, with_summary, evaluation=evaluation)
    result = train(config.joint, stage, warm=warm)
    if config.controls.frozen_generator:
        train(
            replace(config.joint, schedule="generator-frozen", reference="base", base_share=0.0),
            replace(stage, name=FROZEN, output=str(FROZEN_FOLDER)),
            warm={role: folder for role, folder in warm.items() if role == "inference"},
        )
    control = replace(stage, group_by_length=True, too_long="cut", max_tokens=result.tokens)
    if config.controls.population_dpo:
        start = config.model
        if "generator" in warm:
            no_summaries = [""] * len(trained)
            answers = generator_examples(
                trained, no_summaries, with_summary, without_share=1.0, seed=config.seed
            )
            start = str(_warm(config, stage, WARM_POPULATION, "population", answers))
        population = replace(control, name=POPULATION, output=str(POPULATION_FOLDER))
        optimise_generator(start, trained, with_summary, config.joint, population, summaries={})
    if config.controls.oracle_generator:
        personas = {person.user_id: person.persona for person in people if person.persona}
        start = str(warm.get("generator", config.model))
        oracle = replace(control, name=ORACLE, output=str(ORACLE_FOLDER))
        optimise_generator(start, trained, with_summary, config.joint, oracle, summaries=personas)
    return result


def _warm_starts(
    config: TrainPOPI,
    people: Sequence[PreferenceUser],
    users: Sequence[SummarisedUser],
    with_summary: WithSummary,
    count_tokens: Callable[[str], int],
    stage: Stage,
) -> dict[Role, Path]:
    """Fine-tune both models on template summaries; return the folders of their adapters."""
    warm, generator = config.warm_start, random.Random(f"{config.seed}/template")
    signals = {person.user_id: person.signals for person in people}
    summaries = [
        template_summary(
            signals[user.user_id],
            count_tokens=count_tokens,
            max_tokens=config.joint.max_summary_tokens - 1,  # one token for the end of sequence
            bare=generator.random() < warm.bare_share,
        )
        for user in users
    ]
    stage.run.record(template_summaries_empty=sum(not summary for summary in summaries))
    examples = inference_examples(users, summaries)
    folders: dict[Role, Path] = {"inference": _warm(config, stage, WARM_INFERENCE, "inference", examples)}
    if warm.generator:
        answers = generator_examples(
            users, summaries, with_summary, without_share=warm.without_summary_share, seed=config.seed
        )
        folders["generator"] = _warm(config, stage, WARM_GENERATOR, "generator", answers)
    return folders


def check_plan(config: TrainPOPI) -> None:
    """Raise `UserError` for conflicting settings. Loads no model."""
    resolve_model(config.model)
    check_joint(config.joint)
    check_stopping(config.joint, JOINT, evaluates=config.data.held_out > 0)
    check_stopping(config.warm_start, WARM_INFERENCE, evaluates=False)
    if config.lora.load_in_4bit:
        require_four_bit()
    most = config.max_length - config.joint.max_summary_tokens
    if config.data.signal_tokens > most:
        raise UserError(
            f"data.signal_tokens is {config.data.signal_tokens}, expected at most {most} (max_length "
            f"{config.max_length} minus joint.max_summary_tokens {config.joint.max_summary_tokens})",
            hint="raise max_length, or lower data.signal_tokens or joint.max_summary_tokens",
        )
    if config.controls.frozen_generator and config.joint.schedule == "generator-frozen":
        raise UserError(
            "controls.frozen_generator is true and joint.schedule is generator-frozen: the control would be "
            "identical to the method",
            hint="set joint.schedule=joint, or controls.frozen_generator=false",
        )
    warm = config.warm_start
    if config.joint.reference == "generator" and not (warm.enabled and warm.generator):
        raise UserError(
            "joint.reference is generator, but there is no warm-started generator",
            hint="set warm_start.enabled=true and warm_start.generator=true, or joint.reference=base",
        )


def summarised(
    config: TrainPOPI,
    people: Sequence[PreferenceUser],
    wording: SignalWording,
    count_tokens: Callable[[str], int],
) -> tuple[list[SummarisedUser], Counter[str]]:
    """Return the users with their prompts and pairs, and the counts of users, pairs and skipped data."""
    counts: Counter[str] = Counter(users=len(people))
    users = []
    for person in people:
        prompt, dropped = summary_prompt(
            person.signals, count_tokens=count_tokens, max_length=config.data.signal_tokens, wording=wording
        )
        for kind, count in dropped.items():
            counts[f"signals dropped to fit: {kind}"] += count
        pairs = []
        for pair in person.pairs:
            prompt_tokens = count_tokens(prompt_with_summary(pair.prompt, "a", wording=wording))
            longest = max(count_tokens(pair.chosen), count_tokens(pair.rejected))
            # `count_tokens` does not count special tokens and chat templates.
            if prompt_tokens + config.joint.max_summary_tokens + longest + _UNCOUNTED > config.max_length:
                counts["pairs: longer than max_length"] += 1
            else:
                pairs.append(TrainingPair(pair.prompt, pair.chosen, pair.rejected))
        if count_tokens(prompt) > config.data.signal_tokens:
            counts["users left out: signals longer than data.signal_tokens"] += 1
        elif not pairs:
            counts["users left out: no pair is short enough"] += 1
        else:
            counts["pairs"] += len(pairs)
            users.append(SummarisedUser(person.user_id, prompt, tuple(pairs)))
    return users, counts


# Allowance in tokens for a chat template and the beginning of sequence.
_UNCOUNTED = 32


def _stage(config: TrainPOPI, run: Run, progress: Progress) -> Stage:
    """Return the joint stage; the others differ in name and output folder."""
    return Stage(
        run,
        JOINT,
        progress=progress,
        lora=config.lora,
        max_length=config.max_length,
        group_by_length=False,
    )


def _warm(
    config: TrainPOPI, stage: Stage, name: str, role: str, examples: Sequence[PromptCompletion]
) -> Path:
    warm = replace(stage, name=name, output=str(WARM_FOLDER / role), group_by_length=True)
    return finetune(config.model, examples, config.warm_start, warm).model
