"""`personakit train rpo`: generic answers, trajectories, supervised fine-tuning, RL, and the controls.

A resumed run skips completed stages. Generic answers are in the answer cache, trained weights in `sft/`,
`model/` and `controls/`. Trajectories are rewritten on resume: they are deterministic given the answers.

Under `accelerate launch` each process generates a share of the answers and then receives all of them.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from personakit.config import TrainRPO
from personakit.config.endpoint import EndpointSettings
from personakit.config.training import as_control
from personakit.contracts import ContextProvider, LanguageModel
from personakit.data import open_examples
from personakit.data.folders import all_tasks
from personakit.data.store import ExampleStore
from personakit.errors import RunError, UserError
from personakit.models.cache import CachedModel
from personakit.models.cost import token_counter
from personakit.models.open import endpoint_addresses, open_language_model, require_weights
from personakit.models.windows import prompt_limit
from personakit.retrieval import open_retriever
from personakit.rpo.choices import check_drafts, has_trace, needs_base, uses_given_text, with_writer
from personakit.rpo.curriculum import ContextStage, curriculum_stages
from personakit.rpo.dataset import (
    DraftedQuery,
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

SFT = "sft"
CONTEXT_INJECTION = "context-injection"
CONTEXT_INJECTION_FOLDER = str(Path("controls") / "context_injection")
RL = "rl"
SFT_FOLDER = "sft"
"""Folder of the SFT model that RL starts from."""
SFT_CONTINUED = "sft-continued"
SFT_CONTINUED_FOLDER = str(Path("controls") / "sft_continued")
WITHOUT_CURRICULUM = "without-curriculum"
WITHOUT_CURRICULUM_FOLDER = str(Path("controls") / "without_curriculum")


def train_rpo(config: TrainRPO, run: Run, progress: Progress) -> StageResult:
    """Train a rewriter and the requested controls into `run`; return the result of the last stage.

    Raises `UserError` for conflicting settings, and for data with nothing to train on.
    """
    check_plan(config)
    config = with_writer(config, run.facts.get("trajectory_writer"))
    _check_addresses(config, run)
    config = replace(config, endpoint=per_process_endpoint(config.endpoint))
    with local_main_process_first():  # may convert or generate the data
        stores = training_stores(config)
    fingerprint = _fingerprint(stores)
    if run.facts.get("data_fingerprint", fingerprint) != fingerprint:
        raise UserError(
            f"{config.data.path} has changed since {run.folder} was started",
            hint="restore the data, or start a new run",
        )
    run.record(data_fingerprint=fingerprint, trajectory_writer=config.trajectories.writer)
    record_trained_on(run, (digest for store in stores for digest in store_digests(store)))
    provider = open_retriever(config.retrieval.name, config.retrieval.k)
    drafted = _draft(config, stores, provider, run, progress)
    # Loads the tokenizer only: counting tokens needs no weights in memory.
    count_tokens = token_counter(config.model)
    drafted, held_out = hold_out(drafted, config.data.held_out)
    texts, evaluation = _write_trajectories(config, drafted, held_out, count_tokens, run, progress)
    rewriter = _sft_stage(config, run, progress)
    # A control is trained on the same number of tokens as the model it is compared with.
    stages_of_method = (config.sft, config.rl) if config.stages == "all" else (config.sft,)
    control_settings = replace(as_control(config.sft, *stages_of_method), max_steps=None)
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
                evaluation=_examples(evaluation),
            )
        if config.controls.without_curriculum:
            # Same steps, learning rates and queries in each stage: only the items in the prompts differ.
            reinforced(
                [ContextStage(config.retrieval.k)] * len(stages),
                replace(rl_stage, name=WITHOUT_CURRICULUM, output=WITHOUT_CURRICULUM_FOLDER),
                stage_steps=rl.stage_steps,
            )
    if config.controls.fine_tuned_context_injection:
        control, held_out_texts = (
            context_injection_texts(some, count_tokens=count_tokens, max_length=config.context_tokens)
            for some in (drafted, held_out)
        )
        # Same users, items and number of training tokens as all stages of the method together.
        stage = replace(rewriter, name=CONTEXT_INJECTION, output=CONTEXT_INJECTION_FOLDER, max_tokens=tokens)
        finetune(
            config.model, _examples(control), control_settings, stage, evaluation=_examples(held_out_texts)
        )
    return result


def _write_trajectories(
    config: TrainRPO,
    drafted: Sequence[DraftedQuery],
    held_out: Sequence[DraftedQuery],
    count_tokens: Callable[[str], int],
    run: Run,
    progress: Progress,
) -> tuple[list[TrainingText], list[TrainingText]]:
    """Return the training texts and those for `eval_loss`. A local teacher model is freed on return."""
    write = partial(
        trajectories,
        writer=open_writer(config, progress, DistributedModel),
        trajectory_filter=TrajectoryFilter(
            count_tokens,
            config.trajectories.max_tokens,
            config.trajectories.minimum_reward,
            traced=has_trace(config),
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
            f"all trajectories of {len(drafted)} queries were dropped ({counts.summary()})",
            hint="raise trajectories.max_tokens, or inspect the data with personakit data check",
        )
    return texts, write(held_out)[0]


def check_plan(config: TrainRPO) -> None:
    """Raise `UserError` for conflicting settings. Loads no model."""
    require_weights(config.model)
    check_drafts(config.draft, config.data.tasks)
    check_lora(config.lora)
    if config.lora.load_in_4bit:
        require_four_bit()
    if config.trajectories.writer == "teacher":
        teacher_name(config)
    check_stopping(config.sft, SFT, evaluates=config.data.held_out > 0)
    controls = config.controls
    if config.stages == "sft":
        for name in ("sft_continued", "without_curriculum"):
            if getattr(controls, name):
                raise UserError(
                    f"controls.{name} is true and stages is sft, but this control is compared with RL",
                    hint=f"set stages=all, or controls.{name}=false",
                )
        return
    stages = curriculum_stages(config.rl.curriculum, config.retrieval.k)
    if controls.without_curriculum and stages == [ContextStage(config.retrieval.k)]:
        raise UserError(
            "controls.without_curriculum is true, but there is no curriculum to compare with "
            f"(rl.curriculum.enabled {str(config.rl.curriculum.enabled).lower()}, {len(stages)} stage)",
            hint="set rl.curriculum.enabled=true with retrieval.k of 2 or more, or turn the control off",
        )
    check_rl(config)


def _check_addresses(config: TrainRPO, run: Run) -> None:
    """Record the API addresses of base and teacher; raise `UserError` if a resumed run's have changed."""
    teacher = teacher_name(config) if config.trajectories.writer == "teacher" else None
    base = config.base if needs_base(config) else None
    now = endpoint_addresses(name for name in (base, teacher) if name is not None)
    for name, address in run.facts.get("endpoints", {}).items():
        if now.get(name, address) != address:
            raise UserError(
                f"{run.folder} was started with {name} at {address}, which is now at {now[name]}",
                hint=f"set OPENAI_BASE_URL={address}, or start a new run",
            )
    if now:
        run.record(endpoints=now)


def per_process_endpoint(endpoint: EndpointSettings) -> EndpointSettings:
    """Return the endpoint settings of one process: `requests_at_once` divided among all, at least 1."""
    return replace(endpoint, requests_at_once=max(1, endpoint.requests_at_once // process_count()))


def training_stores(config: TrainRPO) -> list[ExampleStore]:
    """Open the training splits of the configured tasks (default: all tasks of the data)."""
    tasks = config.data.tasks or all_tasks(config.data.path, "train")
    if not tasks:
        raise UserError(
            f"{config.data.path} has no training split", hint="list its splits with personakit data check"
        )
    check_drafts(config.draft, tasks)
    stores = [open_examples(config.data.path, task, "train") for task in tasks]
    limit = config.data.limit
    return [store if limit is None else store.subset(limit) for store in stores]


def _draft(
    config: TrainRPO, stores: Sequence[ExampleStore], provider: ContextProvider, run: Run, progress: Progress
) -> list[DraftedQuery]:
    """Generate the (cached) generic answers and retrieve the rewriter's contexts.

    Drafts that are the given texts take no model. Queries that the base model refused are skipped for the
    whole run: on resume it might answer them, which would change the training data.
    """
    drafted: list[DraftedQuery] = []
    answered_by_base: list[ExampleStore] = []
    for store in stores:
        if uses_given_text(config.draft, task := get_task(store.task)):
            drafted += draft_all(task, list(store), None, provider, max_new_tokens=0)
        else:
            answered_by_base.append(store)
    if answered_by_base:
        drafted += _generic_answers(config, answered_by_base, provider, run, progress)
    if not drafted:
        raise UserError(
            "no training query has a gold answer",
            hint="put train_outputs.json into the folder of train_questions.json",
        )
    left_out = {
        *run.facts.get("drafts_refused", ()),
        *(_query_key(each) for each in drafted if each.refused is not None),
    }
    if left_out:
        run.record(drafts_refused=sorted(left_out))
    answered = [each for each in drafted if _query_key(each) not in left_out]
    if not answered:
        raise RunError(
            f"{config.base} gave no answer to, or refused all {len(drafted)} training queries "
            f"({drafted[0].refused})",
            hint="test the base model with personakit infer, or choose another base",
        )
    return answered


def _generic_answers(
    config: TrainRPO, stores: Sequence[ExampleStore], provider: ContextProvider, run: Run, progress: Progress
) -> list[DraftedQuery]:
    total = sum(len(store) for store in stores)
    drafted: list[DraftedQuery] = []
    prompts_cut = 0
    with report_stage(progress, "generic answers", total) as reporter:
        base = CachedModel(
            open_language_model(config.base, truncate=True, endpoint=config.endpoint),
            # Assumes that the other processes progress at the same rate.
            on_progress=lambda done, of: reporter.update(min(total, len(drafted) + done * process_count())),
        )
        for store in stores:
            task = get_task(store.task)
            cap = config.decoding.max_new_tokens or task.max_new_tokens
            drafted += draft_all(task, list(store), DistributedModel(base), provider, max_new_tokens=cap)
            if (limit := prompt_limit(base, cap)) is not None:
                prompts_cut += sum(base.count_tokens(text) > limit for text in store.inputs)
    if prompts_cut:
        run.record(draft_prompts_cut=prompts_cut)
        if run.writes:
            print(
                f"{prompts_cut} of {total} training queries exceed the context window of {config.base!r}, "
                "which answered them without their middle",
                file=sys.stderr,
            )
    return drafted


def _query_key(drafted: DraftedQuery) -> str:
    return f"{drafted.task.name} {drafted.example.query.id}"


class DistributedModel:
    """A language model whose prompts are split among all processes."""

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
        """Generate as the model does. Duplicate prompts are generated once."""
        generate = partial(
            self._model.generate,
            samples=samples,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
        )
        distinct = list(dict.fromkeys(prompts))
        answers = dict(zip(distinct, map_over_processes(distinct, generate), strict=True))
        return [answers[prompt] for prompt in prompts]


def _sft_stage(config: TrainRPO, run: Run, progress: Progress) -> Stage:
    return Stage(
        run,
        SFT,
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
