"""`personakit train popi`: prompts from users' signals, warm starts, the joint stage, and controls.

A resumed run skips completed stages. The warm starts are in `warm/`, the result in `model/inference` and
`model/generator`, the controls in `controls/`. A summary's reward uses only pairs that it was not inferred
from: the data separates them (`records.PreferenceUser`).
"""

from __future__ import annotations

import gc
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from personakit.config.train_popi import TrainPOPI
from personakit.data.folders import data_folder
from personakit.data.lamp_mini.facts import is_lamp_mini
from personakit.data.preferences import PreferenceStore, open_preferences
from personakit.errors import RunError, UserError
from personakit.models.cache import CachedModel
from personakit.models.cost import template_tokens, token_counter
from personakit.models.model_files import context_window, locate
from personakit.models.open import open_language_model, require_weights, resolve_model
from personakit.popi.adapters import Role
from personakit.popi.inferring import inference_prompt
from personakit.popi.joint import train_jointly
from personakit.popi.limits import Limits, limits_of
from personakit.popi.own_summaries import author, write_summaries
from personakit.popi.rows import SummarisedUser, WithSummary
from personakit.popi.schedule import check_joint
from personakit.popi.trained_controls import (
    FROZEN,
    FROZEN_FOLDER,
    ORACLE,
    ORACLE_FOLDER,
    POPULATION,
    POPULATION_FOLDER,
    RAW,
    RAW_FOLDER,
    WARM_POPULATION,
    WARM_RAW,
    ControlPrompt,
    optimise_generator,
)
from personakit.popi.warm_start import generator_examples, inference_examples, template_summary
from personakit.records import PreferenceUser, Signals
from personakit.tasks.signals import (
    ASK_UNTRAINED,
    SHORTENED,
    SignalWording,
    prompt_with_signals,
    prompt_with_summary,
    signal_wording,
)
from personakit.training.fitting import StageResult
from personakit.training.four_bit import require_four_bit
from personakit.training.preference import TrainingPair
from personakit.training.processes import local_main_process_first, process_count
from personakit.training.progress import Progress, SilentProgress, report_stage
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
    _, counts = summarised(
        config, list(store), signal_wording(store.task), token_counter(config.model), training_limits(config)
    )
    return dict(counts), {reason: skip.count for reason, skip in store.skipped.items()}


def _store(config: TrainPOPI) -> PreferenceStore:
    with local_main_process_first():  # may generate the built-in data
        store = open_preferences(config.data.path, "train")
    return store if config.data.limit is None else store.subset(config.data.limit)


def train_on_users(
    config: TrainPOPI, people: Sequence[PreferenceUser], wording: SignalWording, run: Run, progress: Progress
) -> StageResult:
    """Train as `train_popi` on users in memory, with prompts worded by `wording`."""
    count_tokens, limits = token_counter(config.model), training_limits(config)
    with_summary: WithSummary = partial(prompt_with_summary, wording=wording)
    if config.controls.oracle_generator and not any(person.persona for person in people):
        raise UserError(
            f"controls.oracle_generator is true, but {config.data.path} has no personas",
            hint="set controls.oracle_generator=false",
        )
    users, counts = summarised(config, people, wording, count_tokens, limits)
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
        warm = _warm_starts(config, people, trained, wording, count_tokens, limits, stage)
    train = partial(train_jointly, config.model, trained, with_summary, evaluation=evaluation)
    result = train(config.joint, stage, warm=warm)
    if config.controls.frozen_generator:
        train(
            replace(config.joint, schedule="generator-frozen", reference="base", base_share=0.0),
            replace(stage, name=FROZEN, output=str(FROZEN_FOLDER)),
            warm={role: folder for role, folder in warm.items() if role == "inference"},
        )
    personas = {person.user_id: person.persona or "" for person in people}
    signals = {person.user_id: person.signals for person in people}

    def with_raw_signals(user: SummarisedUser, pair: TrainingPair) -> str:
        length = min(config.data.signal_tokens, limits.room(pair, wording, count_tokens))
        return prompt_with_signals(
            pair.prompt,
            signals[user.user_id],
            count_tokens=count_tokens,
            max_length=count_tokens(wording.request(pair.prompt)) + length,
            wording=wording,
        )[0]

    def control(name: str, folder: Path, start: str, prompt: ControlPrompt) -> None:
        own = replace(
            stage,
            name=name,
            output=str(folder),
            group_by_length=True,
            too_long="cut",
            max_tokens=result.tokens,
        )
        optimise_generator(start, prompt, trained, config.joint, own, evaluation=evaluation)

    def warm_control(name: str, folder: str, prompt: ControlPrompt) -> str:
        if "generator" not in warm:  # as POPI's generator, it starts as the base model
            return config.model
        examples = [
            PromptCompletion(prompt(user, pair), pair.chosen) for user in trained for pair in user.pairs
        ]
        return str(_warm(config, stage, name, folder, examples))

    def without_context(user: SummarisedUser, pair: TrainingPair) -> str:
        return with_summary(pair.prompt, "")

    def with_persona(user: SummarisedUser, pair: TrainingPair) -> str:
        return with_summary(pair.prompt, personas[user.user_id])

    if config.controls.population_dpo:
        start = warm_control(WARM_POPULATION, "population", without_context)
        control(POPULATION, POPULATION_FOLDER, start, without_context)
    if config.controls.raw_dpo:
        control(RAW, RAW_FOLDER, warm_control(WARM_RAW, "raw", with_raw_signals), with_raw_signals)
    if config.controls.oracle_generator:
        control(ORACLE, ORACLE_FOLDER, str(warm.get("generator", config.model)), with_persona)
    return result


def _warm_starts(
    config: TrainPOPI,
    people: Sequence[PreferenceUser],
    users: Sequence[SummarisedUser],
    wording: SignalWording,
    count_tokens: Callable[[str], int],
    limits: Limits,
    stage: Stage,
) -> dict[Role, Path]:
    """Fine-tune both models on summaries; return the folders of their adapters."""
    warm = config.warm_start
    with_summary: WithSummary = partial(prompt_with_summary, wording=wording)
    signals = {person.user_id: person.signals for person in people}
    if summaries_of(config) == "own":
        summaries = _own_summaries(config, users, signals, count_tokens, limits, wording, stage)
    else:
        summaries = _template_summaries(config, users, signals, count_tokens, stage)
    examples = inference_examples(users, summaries)
    folders: dict[Role, Path] = {"inference": _warm(config, stage, WARM_INFERENCE, "inference", examples)}
    if warm.generator:
        answers = generator_examples(
            users, summaries, with_summary, without_share=warm.without_summary_share, seed=config.seed
        )
        folders["generator"] = _warm(config, stage, WARM_GENERATOR, "generator", answers)
    return folders


def summaries_of(config: TrainPOPI) -> str:
    """Return what writes the warm start's summaries: "own" or "template"."""
    wanted = config.warm_start.summaries
    if wanted != "auto":
        return wanted
    return "template" if is_lamp_mini(data_folder(config.data.path)) else "own"


def _template_summaries(
    config: TrainPOPI,
    users: Sequence[SummarisedUser],
    signals: Mapping[str, Signals],
    count_tokens: Callable[[str], int],
    stage: Stage,
) -> list[str]:
    generator = random.Random(f"{config.seed}/template")
    summaries = [
        template_summary(
            signals[user.user_id],
            count_tokens=count_tokens,
            max_tokens=config.joint.max_summary_tokens - 1,  # one token for the end of sequence
            bare=generator.random() < config.warm_start.bare_share,
        )
        for user in users
    ]
    stage.run.record(template_summaries_empty=sum(not summary for summary in summaries))
    return summaries


def _own_summaries(
    config: TrainPOPI,
    users: Sequence[SummarisedUser],
    signals: Mapping[str, Signals],
    count_tokens: Callable[[str], int],
    limits: Limits,
    wording: SignalWording,
    stage: Stage,
) -> list[str]:
    """Return the base model's own summaries, "" where none is usable; they are in the answer cache."""
    asking = replace(wording, ask=ASK_UNTRAINED)
    authors = [
        author(
            inference_prompt(signals[user.user_id], count_tokens, limits.signals, asking)[0],
            signals[user.user_id],
            user.pairs,
        )
        for user in users
    ]
    with report_stage(stage.progress, "own summaries", len(authors)) as reporter:
        model = CachedModel(
            open_language_model(config.model, truncate=True),
            on_progress=lambda done, _: reporter.update(min(done * process_count(), len(authors))),
        )
        summaries, counts = write_summaries(
            authors, model, max_tokens=config.joint.max_summary_tokens, seed=config.seed
        )
    del model
    gc.collect()  # its memory is needed for training
    stage.run.record(own_summaries=dict(counts))
    dropped = ", ".join(f"{count} {reason}" for reason, count in counts.items() if "dropped" in reason)
    found = f"{counts['kept']} of {len(authors)} own summaries pass the filter"
    if not counts["kept"]:
        raise RunError(
            f"{config.model} wrote no usable summary of {len(authors)} users ({dropped})",
            hint="choose a model that follows instructions, raise joint.max_summary_tokens, or set "
            "warm_start.summaries=template or warm_start.enabled=false",
        )
    if stage.run.writes and not isinstance(stage.progress, SilentProgress):
        different = f", {counts['different']} of them different"
        print(f"warm start: {found}{different}{f' ({dropped})' if dropped else ''}", file=sys.stderr)
    return summaries


def check_plan(config: TrainPOPI) -> None:
    """Raise `UserError` for conflicting settings. Loads no model."""
    require_weights(config.model)
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
    limits: Limits,
) -> tuple[list[SummarisedUser], Counter[str]]:
    """Return the users with their prompts and pairs, and the counts of users, pairs and skipped data.

    A user of whom nothing can be shown gets no summary in an evaluation, and is left out here.
    """
    counts: Counter[str] = Counter(users=len(people))
    users = []
    for person in people:
        prompt, dropped = inference_prompt(person.signals, count_tokens, limits.signals, wording)
        for kind, count in dropped.items():
            shortened = "signals shortened to fit"
            counts[shortened if kind == SHORTENED else f"signals dropped to fit: {kind}"] += count
        pairs = []
        for pair in person.pairs:
            if limits.fits(pair, wording, count_tokens):
                pairs.append(TrainingPair(pair.prompt, pair.chosen, pair.rejected))
            else:
                counts["pairs: longer than max_length"] += 1
        if not prompt:
            counts["users left out: no signal that fits"] += 1
        elif not pairs:
            counts["users left out: no pair is short enough"] += 1
        else:
            counts["pairs"] += len(pairs)
            users.append(SummarisedUser(person.user_id, prompt, tuple(pairs)))
    return users, counts


def training_limits(config: TrainPOPI) -> Limits:
    """Return the length limits of prompts; raises `UserError` where they leave no room for signals."""
    limits = limits_of(
        config,
        added=template_tokens(config.model),
        window=context_window(locate(resolve_model(config.model))),
    )
    if limits.signals < 1:
        raise UserError(
            f"{limits.total} tokens have no room for signals: a summary has up to {limits.summary} and the "
            f"chat template {limits.added}",
            hint="raise max_length, lower joint.max_summary_tokens, or choose a model with a longer window",
        )
    return limits


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
