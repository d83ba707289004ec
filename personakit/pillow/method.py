"""PILLOW as a `Method`: how its runs are planned, trained and opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from personakit.config import TrainPILLOW, TrainRPO
from personakit.errors import UserError
from personakit.method import FinishedRun, Method, OpenOptions, Plan, PlanTable
from personakit.models.loading import open_base, open_weights

if TYPE_CHECKING:
    from personakit.contracts import ContextProvider, Personalizer
    from personakit.pillow.answering import Order, SelectionInput
    from personakit.records import Profile, Query
    from personakit.training.progress import Progress
    from personakit.training.run import Run


def train(settings: TrainPILLOW, run: Run, progress: Progress) -> object:
    """Tune the model and train the matching network into the run."""
    from personakit.pillow.train import train_pillow

    return train_pillow(settings, run, progress)


def plan(settings: TrainPILLOW) -> Plan:
    """Check data, pool and model name; count instructions and prompts, estimate memory."""
    from functools import partial

    from personakit.models.open import check_model, resolve_model
    from personakit.pillow.data import open_data
    from personakit.pillow.memory import estimate_stages
    from personakit.pillow.train import check_plan
    from personakit.training.stage_memory import estimate_here_and_on_gpu

    check_plan(settings)
    check_model(resolve_model(settings.model))
    return Plan(
        [PlanTable("instructions", ("instructions and prompts", ""), open_data(settings).counts())],
        memory=estimate_here_and_on_gpu(partial(estimate_stages, settings)),
    )


def open_pillow_run(run: FinishedRun, options: OpenOptions) -> Personalizer:
    """Open a run that answers with items of the user's history, or with prompts of the run's pool.

    If `options.base` is another model, it generates the answers, and the run's own model still selects.
    """
    from personakit.baselines import ContextInjection
    from personakit.models.local import LocalModel
    from personakit.pillow.answering import PromptedPersonalizer, SelectionInput
    from personakit.pillow.history import HistoryMatcher
    from personakit.pillow.opening import load_network, load_selector, model_folder, pool_of
    from personakit.pillow.wording import Templated
    from personakit.records import Instruction

    folder, settings = model_folder(run), run.settings
    if folder is None:
        raise UserError(f"{run.folder}: its tuned model is missing", hint="train it again")
    own = open_weights(Path(folder))
    assert isinstance(own, LocalModel)
    base = options.base
    answering = own if base is None or base == settings.model else open_base(base)
    pool = pool_of(run)
    if pool is None:
        provider = HistoryMatcher(*load_network(run, own), settings.matcher.m)
        return ContextInjection(answering, provider, settings.prompt_tokens)

    def selection_input(query: Query, profile: Profile) -> SelectionInput:
        return SelectionInput(Instruction(query.id, query.text, "", ""), pool)

    return PromptedPersonalizer(
        answering,
        Templated(settings.data.template),
        selection_input,
        selector=load_selector(run, own),
        m=settings.matcher.m,
        max_new_tokens=settings.rl.reward.max_new_tokens,
    )


def open_prompted(
    run: FinishedRun,
    name: str,
    m: int,
    selection_input: Callable[[Query, Profile], SelectionInput],
    *,
    order: Order | None = None,
) -> Personalizer:
    """Open the run's model with `m` prompts chosen by the selector `name`.

    `name` is one of `pillow.opening.SELECTORS`, `alone` for the LoRA-tuned model without prompts, or `full`
    for the fully fine-tuned model; `order` reorders the prompts.
    """
    from personakit.models.local import LocalModel
    from personakit.pillow.answering import PromptedPersonalizer, ReorderedSelector
    from personakit.pillow.opening import FULL, SELECTORS, TUNED, model_folder
    from personakit.pillow.wording import Templated

    folder = model_folder(run, FULL if name == "full" else TUNED)
    if folder is None:
        raise UserError(f"{run.folder}: no model was trained for {name}", hint="omit this row")
    model = open_weights(Path(folder))
    assert isinstance(model, LocalModel)
    wording = Templated(run.settings.data.template)
    selector = None if name in ("alone", "full") else SELECTORS[name](run, model, wording)
    if selector is not None and order is not None:
        selector = ReorderedSelector(selector, order)
    limit = run.settings.rl.reward.max_new_tokens
    return PromptedPersonalizer(model, wording, selection_input, selector=selector, m=m, max_new_tokens=limit)


def _history_matcher(run: FinishedRun, k: int) -> ContextProvider:
    """Select `k` items of a user's history; raises `UserError` for a run that selects from a pool."""
    from personakit.models.local import LocalModel
    from personakit.pillow.history import HistoryMatcher
    from personakit.pillow.opening import load_network, model_folder, pool_of

    if pool_of(run) is not None:
        raise UserError(
            f"{run.folder}: the PILLOW run selects from a shared pool, expected one for histories",
            hint="train one with personakit train pillow --config lamp-items",
        )
    folder = model_folder(run)
    assert folder is not None
    return HistoryMatcher(*load_network(run, LocalModel.load(folder, truncate=True)), k)


def _baseline_settings(settings: TrainPILLOW) -> TrainRPO:
    baselines = TrainRPO(base=settings.model, draft="base")
    baselines.retrieval.k = settings.matcher.m
    baselines.controls.context_tokens = settings.prompt_tokens
    return baselines


METHOD = Method(
    name="pillow",
    label="PILLOW",
    help="""Train PILLOW: a matching network that selects prompts from a pool.

    Fine-tunes the model on instructions with LoRA (and all its weights, for comparison), then trains the
    matching network on other instructions by reinforcement learning: the reward of a selection is the quality
    of the tuned model's answer with it.
    """,
    settings=TrainPILLOW,
    train=train,
    open=open_pillow_run,
    plan=plan,
    # A run that selects items of users' histories answers the tasks of LaMP.
    suites=lambda settings: ("lamp",) if settings.data.tasks else ("instruction",),
    result="matcher",
    context_provider=_history_matcher,
    baseline_settings=_baseline_settings,
)
