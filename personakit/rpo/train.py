"""`personakit train rpo`: generic answers, trajectories, supervised fine-tuning, RL, and the controls.

Each stage leaves what it made in the run and is passed over when the run is resumed: the answers in
the answer cache (kept by content, so a stopped job asks only for the rest), the trained weights in
`sft/`, `model/` and `controls/`. Trajectories are written again on resume: they follow from the answers.

Under `accelerate launch` the processes deal the prompts out among them, and then all hold all answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from personakit.config import TrainRPO
from personakit.config.endpoint import EndpointSettings
from personakit.config.training import without_early_stopping
from personakit.contracts import ContextProvider, LanguageModel
from personakit.data import available, open_examples
from personakit.data.store import ExampleStore
from personakit.errors import RunError, UserError
from personakit.models.cache import CachedModel
from personakit.models.cost import token_counter
from personakit.models.open import endpoint_addresses, open_language_model, resolve_model
from personakit.retrieval import open_retriever
from personakit.rpo.curriculum import ContextStage, curriculum_stages
from personakit.rpo.dataset import (
    Drafted,
    TrainingText,
    context_injection_texts,
    draft_all,
    first_of_each_task,
    hold_out,
    trajectories,
)
from personakit.rpo.filters import TrajectoryFilter
from personakit.rpo.reinforce import check_rl, reinforce
from personakit.rpo.teacher import open_writer, teacher_name
from personakit.tasks import get_task
from personakit.training.four_bit import require_four_bit
from personakit.training.processes import local_main_process_first, map_over_processes, process_count
from personakit.training.progress import Progress, report_stage
from personakit.training.run import Run
from personakit.training.stage import Stage, check_lora, check_stopping
from personakit.training.supervised import PromptCompletion, StageResult, finetune
from personakit.training.training_digests import record_trained_on, store_digests

REWRITER = "sft"
CONTROL = "context-injection"
CONTROL_FOLDER = str(Path("controls") / "context_injection")
RL = "rl"
SFT_FOLDER = "sft"
"""Where the model that RL began with stays."""
SFT_CONTINUED = "sft-continued"
SFT_CONTINUED_FOLDER = str(Path("controls") / "sft_continued")
WITHOUT_CURRICULUM = "without-curriculum"
WITHOUT_CURRICULUM_FOLDER = str(Path("controls") / "without_curriculum")


def train_rpo(config: TrainRPO, run: Run, progress: Progress) -> StageResult:
    """Train a rewriter, and the controls that are wanted, into `run`; return what its last stage left.

    Raises `UserError` for settings that do not go together, and where the data has nothing to train on.
    """
    check_plan(config)
    _check_addresses(config, run)
    config = replace(config, endpoint=share_of(config.endpoint))
    with local_main_process_first():  # it converts the data, or makes it
        stores = training_stores(config)
    fingerprint = _fingerprint(stores)
    if run.facts.get("data_fingerprint", fingerprint) != fingerprint:
        raise UserError(
            f"{config.data.path} is not the data that {run.folder} began with",
            hint="put it back as it was, or start a new run",
        )
    run.record(data_fingerprint=fingerprint)
    record_trained_on(run, (digest for store in stores for digest in store_digests(store)))
    provider = open_retriever(config.retrieval.name, config.retrieval.k)
    drafted = _draft(config, stores, provider, run, progress)
    # Its tokenizer alone: weights that are only asked for the length of texts would lie in memory all along.
    count_tokens = token_counter(config.model)
    drafted, held_out = hold_out(drafted, config.data.held_out)
    texts, evaluation = _write_trajectories(config, drafted, held_out, count_tokens, run, progress)
    rewriter = _sft_stage(config, run, progress)
    # A control is trained for as many tokens as what it is compared with, all of them.
    control_settings = replace(without_early_stopping(config.sft), max_steps=None)
    sft = finetune(config.model, _examples(texts), config.sft, rewriter, evaluation=_examples(evaluation))
    result, tokens = sft, sft.tokens
    if config.stages == "all":
        reinforced = partial(reinforce, config, drafted, sft.model, count_tokens=count_tokens)
        stages = curriculum_stages(config.rl.curriculum, config.retrieval.k)
        rl_stage = replace(rewriter, name=RL, output="model")
        rl = reinforced(stages, rl_stage, held_out=held_out)
        result, tokens = rl.result, sft.tokens + rl.result.tokens
        if config.controls.sft_continued:
            finetune(
                str(sft.model),
                _examples(texts),
                control_settings,
                replace(
                    rewriter, name=SFT_CONTINUED, output=SFT_CONTINUED_FOLDER, max_tokens=rl.result.tokens
                ),
            )
        if config.controls.without_curriculum:
            # The same steps, rates and queries stage by stage: only what the prompts show differs.
            reinforced(
                [ContextStage(config.retrieval.k)] * len(stages),
                replace(rl_stage, name=WITHOUT_CURRICULUM, output=WITHOUT_CURRICULUM_FOLDER),
                stage_steps=rl.stage_steps,
            )
    if config.controls.fine_tuned_context_injection:
        control = context_injection_texts(
            drafted, count_tokens=count_tokens, max_length=config.controls.context_tokens
        )
        # The same users, items and number of training tokens as all stages, so that the two can be compared.
        stage = replace(rewriter, name=CONTROL, output=CONTROL_FOLDER, max_tokens=tokens)
        finetune(config.model, _examples(control), control_settings, stage)
    return result


def _write_trajectories(
    config: TrainRPO,
    drafted: Sequence[Drafted],
    held_out: Sequence[Drafted],
    count_tokens: Callable[[str], int],
    run: Run,
    progress: Progress,
) -> tuple[list[TrainingText], list[TrainingText]]:
    """The texts to train on and those to measure `eval_loss` on. A local teacher is let go at the end."""
    write = partial(
        trajectories,
        writer=open_writer(config, progress, _DealtOut),
        keep=TrajectoryFilter(
            count_tokens, config.trajectories.max_tokens, config.trajectories.minimum_reward
        ),
        count_tokens=count_tokens,
        max_length=config.prompt_tokens,
        no_history_share=config.trajectories.no_history_share,
        seed=config.seed,
    )
    texts, counts = write(first_of_each_task(drafted, config.trajectories.limit))
    without_history = sum(each.context.empty for each in drafted)
    run.record(trajectories=counts.summary() | {"users without history": without_history})
    if not texts:
        raise UserError(
            f"no trajectory of {len(drafted)} was kept ({counts.summary()})",
            hint="raise trajectories.max_tokens, or look at the data with personakit data check",
        )
    return texts, write(held_out)[0]


def check_plan(config: TrainRPO) -> None:
    """Raise `UserError` for settings that cannot be trained with together; nothing is loaded for it."""
    resolve_model(config.model)
    check_lora(config.lora)
    if config.lora.load_in_4bit:
        require_four_bit()
    if config.trajectories.writer == "teacher":
        teacher_name(config)
    check_stopping(config.sft, REWRITER, evaluates=config.data.held_out > 0)
    controls = config.controls
    if config.stages == "sft":
        for name in ("sft_continued", "without_curriculum"):
            if getattr(controls, name):
                raise UserError(
                    f"controls.{name} is true and stages is sft: it is set against RL",
                    hint=f"set stages=all, or controls.{name}=false",
                )
        return
    stages = curriculum_stages(config.rl.curriculum, config.retrieval.k)
    if controls.without_curriculum and stages == [ContextStage(config.retrieval.k)]:
        raise UserError(
            "controls.without_curriculum is true, and there is no curriculum to be without "
            f"(rl.curriculum.enabled {str(config.rl.curriculum.enabled).lower()}, {len(stages)} stage)",
            hint="set rl.curriculum.enabled=true with a retrieval.k of 2 or more, or leave the control out",
        )
    check_rl(config)


def _check_addresses(config: TrainRPO, run: Run) -> None:
    """Record where the models behind an API are; another server's answers are not mixed into a run."""
    teacher = teacher_name(config) if config.trajectories.writer == "teacher" else None
    now = endpoint_addresses(name for name in (config.base, teacher) if name is not None)
    for name, address in run.facts.get("endpoints", {}).items():
        if now.get(name, address) != address:
            raise UserError(
                f"{run.folder} was begun with {name} at {address}, now it is at {now[name]}",
                hint=f"set OPENAI_BASE_URL={address}, or start a new run",
            )
    if now:
        run.record(endpoints=now)


def share_of(endpoint: EndpointSettings) -> EndpointSettings:
    """Return how one process may ask: all of them together have `requests_at_once` in flight.

    Each has at least one.
    """
    return replace(endpoint, requests_at_once=max(1, endpoint.requests_at_once // process_count()))


def training_stores(config: TrainRPO) -> list[ExampleStore]:
    """Open the training split of every task the configuration names (by default all there are)."""
    tasks = config.data.tasks or [task for task, split in available(config.data.path) if split == "train"]
    if not tasks:
        raise UserError(
            f"{config.data.path} has no training split", hint="see what it has with personakit data check"
        )
    stores = [open_examples(config.data.path, task, "train") for task in tasks]
    limit = config.data.limit
    return [store if limit is None else store.subset(limit) for store in stores]


def _draft(
    config: TrainRPO, stores: Sequence[ExampleStore], provider: ContextProvider, run: Run, progress: Progress
) -> list[Drafted]:
    """The base's generic answers, each asked for once ever, and the items the rewriter will see.

    A query that the base refused is left out, and stays out of the run: asked again when the run is resumed,
    it might be answered, and the data would be another.
    """
    total = sum(len(store) for store in stores)
    drafted: list[Drafted] = []
    with report_stage(progress, "generic answers", total) as reporter:
        base = CachedModel(
            open_language_model(config.base, truncate=True, endpoint=config.endpoint),
            # The other processes are about as far with their shares as this one is.
            on_progress=lambda done, of: reporter.update(min(total, len(drafted) + done * process_count())),
        )
        for store in stores:
            task = get_task(store.task)
            cap = config.decoding.max_new_tokens or task.max_new_tokens
            drafted += draft_all(task, list(store), _DealtOut(base), provider, max_new_tokens=cap)
    if not drafted:
        raise UserError(
            "no training query has a gold answer", hint="put the train_outputs.json beside the questions"
        )
    left_out = {
        *run.facts.get("drafts_refused", ()),
        *(_named(each) for each in drafted if each.refused is not None),
    }
    if left_out:
        run.record(drafts_refused=sorted(left_out))
    answered = [each for each in drafted if _named(each) not in left_out]
    if not answered:
        raise RunError(
            f"{config.base} refused all {len(drafted)} training queries ({drafted[0].refused})",
            hint="try what it answers with personakit infer, or choose another base",
        )
    return answered


def _named(drafted: Drafted) -> str:
    return f"{drafted.task.name} {drafted.example.query.id}"


class _DealtOut:
    """A language model asked by all processes together, each for its share of the prompts."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self.score = model.score
        self.count_tokens = model.count_tokens

    def generate(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """As the model would; a prompt that is there twice is asked for once."""
        ask = partial(
            self._model.generate,
            samples=samples,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
        )
        distinct = list(dict.fromkeys(prompts))
        answers = dict(zip(distinct, map_over_processes(distinct, ask), strict=True))
        return [answers[prompt] for prompt in prompts]


def _sft_stage(config: TrainRPO, run: Run, progress: Progress) -> Stage:
    return Stage(
        run,
        REWRITER,
        output="model" if config.stages == "sft" else SFT_FOLDER,
        progress=progress,
        lora=config.lora,
        max_length=config.sft.max_length,
        too_long="cut",
    )


def _examples(texts: Sequence[TrainingText]) -> list[PromptCompletion]:
    return [PromptCompletion(text.prompt, text.completion) for text in texts]


def _fingerprint(stores: Sequence[ExampleStore]) -> str:
    return hashlib.sha256("\n".join(store.fingerprint for store in stores).encode()).hexdigest()
