"""RPO as a `Method`: how its runs are planned, trained and opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.config import TrainRPO
from personakit.errors import UserError
from personakit.method import Control, FinishedRun, Method, OpenOptions, Plan, PlanTable
from personakit.models.loading import open_base, open_weights

if TYPE_CHECKING:
    from personakit.contracts import Personalizer
    from personakit.training.progress import Progress
    from personakit.training.run import Run

#: Folder of a run's fine-tuned context injection model, a control.
TUNED_CONTEXT = Path("controls") / "context_injection"
#: Folders of the further rewriters of a run, by name: the model before RL and the controls of RL.
REWRITERS = {
    "sft": Path("sft"),
    "sft-continued": Path("controls") / "sft_continued",
    "no-curriculum": Path("controls") / "without_curriculum",
}
_TRAINED_WITH = {
    "sft": "stages=all",  # keeps the model that RL starts from
    "sft-continued": "controls.sft_continued=true",
    "no-curriculum": "controls.without_curriculum=true",
}


def train(settings: TrainRPO, run: Run, progress: Progress) -> object:
    """Train a rewriter and its controls into the run."""
    from personakit.rpo.train import train_rpo

    return train_rpo(settings, run, progress)


def plan(settings: TrainRPO) -> Plan:
    """Check data, retriever and model names; count queries and requests, estimate memory."""
    from functools import partial

    from personakit.models.open import check_model, resolve_model
    from personakit.retrieval import open_retriever
    from personakit.rpo.choices import chosen, needs_base, with_writer
    from personakit.rpo.estimate import estimate_requests
    from personakit.rpo.memory import estimate_stages
    from personakit.rpo.teacher import teacher_name
    from personakit.rpo.train import check_plan, training_stores
    from personakit.training.stage_memory import estimate_here_and_on_gpu

    check_plan(settings)
    check_model(resolve_model(settings.model))
    if needs_base(settings):
        check_model(settings.base)
    if settings.trajectories.writer == "teacher":
        check_model(teacher_name(settings))
    if not settings.retrieval.name.startswith("dense"):  # opening that one would load its encoder
        open_retriever(settings.retrieval.name, settings.retrieval.k)
    queries = {store.task: len(store) for store in training_stores(settings)}
    settings = with_writer(settings)
    return Plan(
        [
            PlanTable("queries", ("task", "training queries"), queries),
            PlanTable("chosen", ("setting", "value used"), chosen(settings, queries)),
        ],
        estimate_requests(settings),
        estimate_here_and_on_gpu(partial(estimate_stages, settings)),
    )


def open_rewriter(run: FinishedRun, options: OpenOptions) -> Personalizer:
    """Open the run's rewriter, or one of `REWRITERS`; raises `UserError` if it was not trained."""
    from personakit.retrieval import open_retriever
    from personakit.rpo.choices import has_trace, needs_base, with_writer
    from personakit.rpo.rewriter import Rewriter

    name, settings = options.rewriter, with_writer(run.settings, run.facts.get("trajectory_writer"))
    model = run.path() if name is None else run.path(REWRITERS[name])
    if model is None:
        raise UserError(
            f'{run.folder} has no rewriter "{name}"', hint=f"train with {_TRAINED_WITH[str(name)]}"
        )
    needed = needs_base(settings) and not options.given_drafts
    base = options.base or (settings.base if needed else None)
    rewriter = Rewriter(
        base=None if base is None else open_base(base, settings.endpoint),
        model=options.model or open_weights(model),
        provider=open_retriever(settings.retrieval.name, settings.retrieval.k),
        max_length=settings.prompt_tokens,
        max_draft_tokens=settings.decoding.max_new_tokens,
        max_trajectory_tokens=settings.trajectories.max_tokens,
        # With a share of 0 it never learnt to keep a draft: it then rewrites those of unknown users too.
        rewrite_without_history=options.rewrite_without_history
        or settings.trajectories.no_history_share == 0,
        traced=has_trace(settings),
        draft=settings.draft,
    )
    if not options.light:
        return rewriter
    from personakit.rpo.light_edits import LightEdits

    return LightEdits(rewriter, options.max_edit, options.check_content, settings.draft)


def open_tuned_context(run: FinishedRun) -> Personalizer:
    """Open the run's fine-tuned context injection model; raises `UserError` if none was trained."""
    from personakit.baselines import ContextInjection, DecodingOptions
    from personakit.retrieval import open_retriever

    model, settings = run.path(TUNED_CONTEXT), run.settings
    if model is None:
        raise UserError(
            f"{run.folder} has no fine-tuned context injection model",
            hint="train with controls.fine_tuned_context_injection=true",
        )
    return ContextInjection(
        open_weights(model),
        open_retriever(settings.retrieval.name, settings.retrieval.k),
        settings.context_tokens,
        DecodingOptions(settings.decoding.max_new_tokens),
    )


def _rewriter_control(name: str, label: str) -> Control:
    return Control(
        label=label,
        folder=REWRITERS[name],
        setting=_TRAINED_WITH[name],
        open=lambda run, options: open_rewriter(run, replace(options, rewriter=name)),
    )


def _own_settings(settings: Any) -> TrainRPO:
    own: TrainRPO = settings
    return own


METHOD = Method(
    name="rpo",
    label="RPO",
    help="""Train RPO: a model that rewrites generic answers.

    Gets the base model's generic answers (cached, so that no request is sent twice) or takes the given texts
    that are to be rewritten, makes rewriting trajectories from them and the users' own answers, fine-tunes
    the rewriter on these (SFT), with stages=all continues with reinforcement learning, and fine-tunes
    context injection on the same data, as a control.
    """,
    rewrites=True,
    settings=TrainRPO,
    train=train,
    open=open_rewriter,
    plan=plan,
    suites=lambda settings: (
        ("rewriting", "lamp") if settings.data.tasks == ["rewriting"] else ("lamp", "rewriting")
    ),
    controls={
        "context-tuned": Control(
            label="context injection, fine-tuned",
            folder=TUNED_CONTEXT,
            setting="controls.fine_tuned_context_injection=true",
            open=lambda run, options: open_tuned_context(run),
            is_baseline=True,
        ),
        "sft": _rewriter_control("sft", "RPO, SFT only"),
        "sft-continued": _rewriter_control("sft-continued", "RPO, SFT continued"),
        "no-curriculum": replace(
            _rewriter_control("no-curriculum", "RPO, no curriculum"),
            compared_with=("sft", "sft-continued"),  # what RL adds without the curriculum
        ),
    },
    baseline_settings=_own_settings,
)
