"""`personakit train popi`: users' signals into prompts, warm starts of both models, the joint stage.

Each stage leaves what it made in the run and is passed over when the run is resumed: the warm starts in
`warm/`, the result in `model/inference` and `model/generator`, the controls in `controls/`. A summary is only
ever judged on pairs that it was not inferred from: the data keeps them apart (`records.PreferenceUser`).
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
from personakit.popi.joint import JointSettings, SummarisedUser, WithSummary, train_jointly
from personakit.popi.settings import check_joint
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
from personakit.training.fitting import Finetuned
from personakit.training.four_bit import require_four_bit
from personakit.training.preference import TrainingPair
from personakit.training.processes import first_on_this_machine, process_count
from personakit.training.progress import Progress
from personakit.training.run import Run
from personakit.training.supervised import PromptCompletion, SupervisedSettings, finetune
from personakit.training.training_digests import record_trained_on, seen_digest

JOINT = "joint"
WARM_INFERENCE = "warm-inference"
WARM_GENERATOR = "warm-generator"
WARM_FOLDER = Path("warm")


def train_popi(config: TrainPOPI, run: Run, progress: Progress) -> Finetuned:
    """Train an inference model and a generator into `run`; return what the joint stage left.

    Raises `UserError` for settings that do not go together, and where the data has nothing to train on.
    """
    check_plan(config)
    store = _store(config)
    if run.facts.get("data_fingerprint", store.fingerprint) != store.fingerprint:
        raise UserError(
            f"{config.data.path} is not the data that {run.folder} began with",
            hint="put it back as it was, or start a new run",
        )
    run.record(
        data_fingerprint=store.fingerprint,
        preference_task=store.task,
        preferences_skipped={reason: skip.count for reason, skip in store.skipped.items()},
    )
    people = list(store)
    record_trained_on(
        run, (seen_digest(pair.prompt, pair.chosen, pair.user_id) for each in people for pair in each.pairs)
    )
    return train_on_users(config, people, signal_wording(store.task), run, progress)


def count_users(config: TrainPOPI) -> tuple[dict[str, int], dict[str, int]]:
    """Return what would be trained on, and what the data's reader left out, by reason; nothing is trained."""
    store = _store(config)
    _, counts = summarised(config, list(store), signal_wording(store.task), token_counter(config.model))
    return dict(counts), {reason: skip.count for reason, skip in store.skipped.items()}


def _store(config: TrainPOPI) -> PreferenceStore:
    with first_on_this_machine():  # it makes the built-in data
        store = open_preferences(config.data.path, "train")
    return store if config.data.limit is None else store.subset(config.data.limit)


def train_on_users(
    config: TrainPOPI, people: Sequence[PreferenceUser], wording: SignalWording, run: Run, progress: Progress
) -> Finetuned:
    """The same on users in memory, whose prompts `wording` words."""
    count_tokens = token_counter(config.model)
    with_summary: WithSummary = partial(prompt_with_summary, wording=wording)
    if config.controls.oracle_generator and not any(person.persona for person in people):
        raise UserError(
            f"controls.oracle_generator is true, and {config.data.path} knows no user's persona",
            hint="set controls.oracle_generator=false",
        )
    users, counts = summarised(config, people, wording, count_tokens)
    run.record(users=dict(counts))
    held_out = config.data.held_out
    if held_out >= len(users):
        raise UserError(
            f"data.held_out is {held_out}, and there are {len(users)} users to train on ({dict(counts)})",
            hint="hold out fewer, or raise max_length where users were left out for their length",
        )
    trained, judged = users[: len(users) - held_out], users[len(users) - held_out :]
    warm: dict[Role, Path] = {}
    if config.warm_start.enabled:
        warm = _warm_starts(config, people, trained, with_summary, count_tokens, run, progress)
    settings = joint_settings(config)
    train = partial(
        train_jointly, config.model, trained, with_summary, run=run, evaluation=judged, progress=progress
    )
    result = train(settings, stage=JOINT, inference=warm.get("inference"), generator=warm.get("generator"))
    if config.controls.frozen_generator:
        train(
            replace(settings, schedule="generator-frozen", reference="base", base_share=0.0),
            stage=FROZEN,
            inference=warm.get("inference"),
            output=str(FROZEN_FOLDER),
        )
    optimise = partial(
        optimise_generator,
        users=trained,
        with_summary=with_summary,
        joint=settings,
        tokens=result.tokens,
        run=run,
        progress=progress,
    )
    if config.controls.population_dpo:
        start = config.model
        if "generator" in warm:
            none = [""] * len(trained)
            answers = generator_examples(trained, none, with_summary, without_share=1.0, seed=config.seed)
            start = str(_warm(config, WARM_POPULATION, "population", answers, run, progress))
        optimise(start, summaries={}, stage=POPULATION, output=POPULATION_FOLDER)
    if config.controls.oracle_generator:
        personas = {person.user_id: person.persona for person in people if person.persona}
        start = str(warm.get("generator", config.model))
        optimise(start, summaries=personas, stage=ORACLE, output=ORACLE_FOLDER)
    return result


def _warm_starts(
    config: TrainPOPI,
    people: Sequence[PreferenceUser],
    users: Sequence[SummarisedUser],
    with_summary: WithSummary,
    count_tokens: Callable[[str], int],
    run: Run,
    progress: Progress,
) -> dict[Role, Path]:
    """Fine-tune both models on summaries by the template."""
    warm, drawn = config.warm_start, random.Random(f"{config.seed}/template")
    signals = {person.user_id: person.signals for person in people}
    summaries = [
        template_summary(
            signals[user.user_id],
            count_tokens=count_tokens,
            max_tokens=config.joint.summary_tokens - 1,  # one is the end's
            bare=drawn.random() < warm.bare_share,
        )
        for user in users
    ]
    run.record(template_summaries_empty=sum(not summary for summary in summaries))
    said = inference_examples(users, summaries)
    made: dict[Role, Path] = {"inference": _warm(config, WARM_INFERENCE, "inference", said, run, progress)}
    if warm.generator:
        answers = generator_examples(
            users, summaries, with_summary, without_share=warm.without_summary_share, seed=config.seed
        )
        made["generator"] = _warm(config, WARM_GENERATOR, "generator", answers, run, progress)
    return made


def check_plan(config: TrainPOPI) -> None:
    """Raise `UserError` for settings that cannot be trained with together; nothing is loaded for it."""
    resolve_model(config.model)
    check_joint(joint_settings(config))
    if config.lora.four_bit:
        require_four_bit()
    room = config.max_length - config.joint.summary_tokens
    if config.data.signal_tokens > room:
        raise UserError(
            f"data.signal_tokens is {config.data.signal_tokens}, expected at most {room} (max_length "
            f"{config.max_length} less {config.joint.summary_tokens} of a summary)",
            hint="raise max_length, or lower data.signal_tokens or joint.summary_tokens",
        )
    if config.controls.frozen_generator and config.joint.schedule == "generator-frozen":
        raise UserError(
            "controls.frozen_generator is true and joint.schedule is generator-frozen: they are the same",
            hint="set joint.schedule=joint, or controls.frozen_generator=false",
        )
    warm = config.warm_start
    if config.joint.reference == "generator" and not (warm.enabled and warm.generator):
        raise UserError(
            "joint.reference is generator, and there is no warm-started generator",
            hint="set warm_start.enabled=true and warm_start.generator=true, or joint.reference=base",
        )


def summarised(
    config: TrainPOPI,
    people: Sequence[PreferenceUser],
    wording: SignalWording,
    count_tokens: Callable[[str], int],
) -> tuple[list[SummarisedUser], Counter[str]]:
    """Return the users as texts, and what was counted on the way: what is left out, and of which kind."""
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
            told = count_tokens(prompt_with_summary(pair.prompt, "a", wording=wording))
            longest = max(count_tokens(pair.chosen), count_tokens(pair.rejected))
            # A tokenizer's special tokens and chat template are not counted by it: room for them is left.
            if told + config.joint.summary_tokens + longest + _UNCOUNTED > config.max_length:
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


def joint_settings(config: TrainPOPI) -> JointSettings:
    """Return the joint stage's settings."""
    joint, lora = config.joint, config.lora
    return JointSettings(
        learning_rate=joint.learning_rate,
        generator_learning_rate=joint.generator_learning_rate,
        lr_schedule=joint.schedule_of_rates,
        warmup_ratio=joint.warmup_share,
        weight_decay=joint.weight_decay,
        epochs=joint.epochs,
        max_steps=joint.steps,
        batch_size=joint.batch_size * joint.accumulation * process_count(),
        micro_batch_size=joint.batch_size,
        max_length=config.max_length,
        summaries=joint.summaries,
        pairs=joint.pairs,
        summary_tokens=joint.summary_tokens,
        generator_summaries=joint.generator_summaries,
        beta=joint.beta,
        kl=joint.kl,
        base_share=joint.base_share,
        schedule=joint.schedule,
        alternate_every=joint.alternate_every,
        reference=joint.reference,
        lora_rank=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        lora_targets=lora.targets,
        four_bit=lora.four_bit,
        gradient_checkpointing=joint.gradient_checkpointing,
        shared_prefix=joint.shared_prefix,
        checkpoint_every=joint.checkpoint_every,
    )


# A chat template's turns and a beginning of sequence.
_UNCOUNTED = 32


def _warm(
    config: TrainPOPI,
    stage: str,
    role: str,
    examples: Sequence[PromptCompletion],
    run: Run,
    progress: Progress,
) -> Path:
    warm, lora = config.warm_start, config.lora
    settings = SupervisedSettings(
        learning_rate=warm.learning_rate,
        warmup_ratio=warm.warmup_share,
        epochs=warm.epochs,
        max_steps=warm.steps,
        batch_size=warm.batch_size * process_count(),
        micro_batch_size=warm.batch_size,
        lora_rank=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        lora_targets=lora.targets,
        four_bit=lora.four_bit,
        max_length=config.max_length,
        gradient_checkpointing=config.joint.gradient_checkpointing,
        shared_prefix=config.joint.shared_prefix,
        checkpoint_every=warm.checkpoint_every,
    )
    return finetune(
        config.model, examples, settings, run, stage, progress=progress, output=str(WARM_FOLDER / role)
    ).model
