"""POPI as a `Method`: how its runs are planned, trained and opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.config import TrainPOPI, TrainRPO
from personakit.method import FinishedRun, Method, OpenOptions, Plan, PlanTable
from personakit.models.loading import one_at_a_time, open_base

if TYPE_CHECKING:
    from personakit.contracts import ContextProvider, Personalizer
    from personakit.popi.opening import LoadedPOPI
    from personakit.popi.summary_files import WrittenSummary
    from personakit.training.progress import Progress
    from personakit.training.run import Run


def train(settings: TrainPOPI, run: Run, progress: Progress) -> object:
    """Train both models and their controls into the run."""
    from personakit.popi.train import train_popi

    return train_popi(settings, run, progress)


def plan(settings: TrainPOPI) -> Plan:
    """Check data and model name; count users, pairs and skipped rows, estimate memory."""
    from functools import partial

    from personakit.models.open import check_model, resolve_model
    from personakit.popi.memory import estimate_stages
    from personakit.popi.train import check_plan, count_users
    from personakit.training.stage_memory import estimate_here_and_on_gpu

    check_plan(settings)
    check_model(resolve_model(settings.model))
    users, skipped = count_users(settings)
    return Plan(
        [
            PlanTable("users", ("users and pairs to train on", ""), users),
            PlanTable("skipped", ("left out of the data", ""), skipped),
        ],
        memory=estimate_here_and_on_gpu(partial(estimate_stages, settings)),
    )


@one_at_a_time
def load_popi(run: FinishedRun) -> LoadedPOPI:
    """Load a run's base model with all its adapters. The latest result is cached."""
    from personakit.popi.opening import LoadedPOPI

    METHOD.require(run)
    return LoadedPOPI.load(run)


def open_popi_run(run: FinishedRun, options: OpenOptions) -> Personalizer:
    """Open a run. If `options.base` is another model than the run's, it replaces the generator."""
    base = options.base
    another = None if base is None or base == run.settings.model else open_base(base)
    return load_popi(run).personalizer(another)


def open_with_summary(run: FinishedRun, written: WrittenSummary, *, base: str | None = None) -> Personalizer:
    """Open a run with a given summary; `base` replaces its generator.

    Queries of other users than the summary's raise `UserError`.
    """
    from personakit.popi.inferring import FixedSummary

    summaries = FixedSummary(written.summary, written.user_id)
    return load_popi(run).personalizer(None if base is None else open_base(base), summaries)


def open_heuristic(name: str, data: str, personas: Mapping[str, str], beta: float) -> Any:
    """Open a model-free row of `eval preference`: `length` or `persona-lookup`."""
    from personakit.data.preferences import open_preferences
    from personakit.popi.heuristics import ConstantScore, LengthBaseline, PersonaBaseline
    from personakit.popi.opening import ScoredRow

    if name == "length":
        policy: Any = LengthBaseline()
    else:
        policy = PersonaBaseline.from_users(open_preferences(data, "train"), personas)
    return ScoredRow(policy, ConstantScore(), policy, beta)


def popi_lacks(run: FinishedRun, row: str) -> str | None:
    """Return why a POPI run cannot provide a row of `eval preference`; None if it can."""
    from personakit.popi.opening import FROZEN_GENERATOR, POPULATION, RAW, adapters_of

    needed = {"population": POPULATION, "history-dpo": RAW, "frozen-generator": FROZEN_GENERATOR}.get(row)
    if needed is None or needed in adapters_of(run.folder):
        return None
    return f"the run has no {needed} (controls)"


def _adapters(run: FinishedRun) -> list[Path]:
    return [run.folder / "model" / "inference", run.folder / "model" / "generator"]


def _summariser(run: FinishedRun, k: int) -> ContextProvider:
    return load_popi(run).summariser()


def _baseline_settings(settings: TrainPOPI) -> TrainRPO:
    """Context injection sees at least as many tokens of a user as the inference model."""
    baselines = TrainRPO(base=settings.model, draft="base", decoding=settings.decoding)
    baselines.controls.context_tokens = max(baselines.prompt_tokens, settings.data.signal_tokens)
    return baselines


METHOD = Method(
    name="popi",
    label="POPI",
    help="""Train POPI: a model that infers a summary of a user, and one that answers from it.

    Fine-tunes both on summaries by the base model itself (by rules for the built-in data), trains them
    jointly on the users' preferences, and trains baselines on the same pairs and as many tokens: DPO without
    knowing the user and, unless controls.raw_dpo=false, DPO with the raw signals.
    """,
    settings=TrainPOPI,
    train=train,
    open=open_popi_run,
    plan=plan,
    suites=lambda settings: ("preference", "lamp"),
    models=_adapters,
    context_provider=_summariser,
    baseline_settings=_baseline_settings,
)
