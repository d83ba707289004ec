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
        run,
        (training_digest(pair.prompt, pair.chosen, pair.user_id) for each in people for pair in each.pairs),
    )
    return train_on_users(config, people, signal_wording(store.task), run, progress)


def count_users(config: TrainPOPI) -> tuple[dict[str, int], dict[str, int]]:
    """Return what would be trained on, and what the data's reader left out, by reason; nothing is trained."""
    store = _store(config)
    _, counts = summarised(config, list(store), signal_wording(store.task), token_counter(config.model))
    return dict(counts), {reason: skip.count for reason, skip in store.skipped.items()}


def _store(config: TrainPOPI) -> PreferenceStore:
    with local_main_process_first():  # it makes the built-in data
        store = open_preferences(config.data.path, "train")
    return store if config.data.limit is None else store.subset(config.data.limit)


def train_on_users(
    config: TrainPOPI, people: Sequence[PreferenceUser], wording: SignalWording, run: Run, progress: Progress
) -> StageResult:
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
    stage = _stage(config, run, progress)
    warm: dict[Role, Path] = {}
    if config.warm_start.enabled:
        warm = _warm_starts(config, people, trained, with_summary, count_tokens, stage)
    train = partial(train_jointly, config.model, trained, with_summary, evaluation=judged)
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
            none = [""] * len(trained)
            answers = generator_examples(trained, none, with_summary, without_share=1.0, seed=config.seed)
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
    """Fine-tune both models on summaries by the template."""
    warm, drawn = config.warm_start, random.Random(f"{config.seed}/template")
    signals = {person.user_id: person.signals for person in people}
    summaries = [
        template_summary(
            signals[user.user_id],
            count_tokens=count_tokens,
            max_tokens=config.joint.max_summary_tokens - 1,  # one is the end's
            bare=drawn.random() < warm.bare_share,
        )
        for user in users
    ]
    stage.run.record(template_summaries_empty=sum(not summary for summary in summaries))
    said = inference_examples(users, summaries)
    made: dict[Role, Path] = {"inference": _warm(config, stage, WARM_INFERENCE, "inference", said)}
    if warm.generator:
        answers = generator_examples(
            users, summaries, with_summary, without_share=warm.without_summary_share, seed=config.seed
        )
        made["generator"] = _warm(config, stage, WARM_GENERATOR, "generator", answers)
    return made


def check_plan(config: TrainPOPI) -> None:
    """Raise `UserError` for settings that cannot be trained with together; nothing is loaded for it."""
    resolve_model(config.model)
    check_joint(config.joint)
    check_stopping(config.joint, JOINT, evaluates=config.data.held_out > 0)
    check_stopping(config.warm_start, WARM_INFERENCE, evaluates=False)
    if config.lora.load_in_4bit:
        require_four_bit()
    room = config.max_length - config.joint.max_summary_tokens
    if config.data.signal_tokens > room:
        raise UserError(
            f"data.signal_tokens is {config.data.signal_tokens}, expected at most {room} (max_length "
            f"{config.max_length} less {config.joint.max_summary_tokens} of a summary)",
            hint="raise max_length, or lower data.signal_tokens or joint.max_summary_tokens",
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
            if told + config.joint.max_summary_tokens + longest + _UNCOUNTED > config.max_length:
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


# A chat template's turns and a beginning of sequence.
_UNCOUNTED = 32


def _stage(config: TrainPOPI, run: Run, progress: Progress) -> Stage:
    """The joint stage; the others differ by name and output."""
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
