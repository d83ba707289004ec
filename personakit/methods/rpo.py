"""Opens a run of RPO: its rewriter, those trained beside it, and its control."""

from __future__ import annotations

from personakit.contracts import Personalizer
from personakit.errors import UserError
from personakit.methods.open_models import open_base, open_weights
from personakit.methods.providers import open_provider
from personakit.methods.runs import FinishedRun

_MADE_BY = {
    "sft": "stages=all keeps the model that SFT left beside RL's",
    "sft-continued": "train with controls.sft_continued=true",
    "no-curriculum": "train with controls.without_curriculum=true",
}


def open_rewriter(
    run: FinishedRun, base: str | None, rewrite_without_history: bool, rewriter: str | None
) -> Personalizer:
    """Open a rewriter of the run, its own or one of `REWRITERS`: see `open_run`."""
    from personakit.rpo.rewriter import Rewriter

    place = run.folder / "model" if rewriter is None else run.rewriters.get(rewriter)
    if place is None:
        raise UserError(f'{run.folder}: has no rewriter "{rewriter}"', hint=_MADE_BY[str(rewriter)])
    return Rewriter(
        base=open_base(base or run.settings.base, run.settings.endpoint),
        model=open_weights(place),
        provider=open_provider(run.settings),
        max_length=run.settings.prompt_tokens,
        max_draft_tokens=run.settings.decoding.max_new_tokens,
        max_trajectory_tokens=run.settings.trajectories.max_tokens,
        rewrite_without_history=rewrite_without_history,
    )


def open_tuned_context(run: FinishedRun) -> Personalizer:
    """Open the context injection that was fine-tuned beside the run."""
    from personakit.baselines import ContextInjection, DecodingOptions

    if run.tuned_context is None:
        raise UserError(
            f"{run.folder}: no context injection was fine-tuned beside it",
            hint="train with controls.fine_tuned_context_injection=true",
        )
    model = open_weights(run.tuned_context)
    settings = run.settings
    return ContextInjection(
        model,
        open_provider(settings),
        settings.controls.context_tokens,
        DecodingOptions(settings.decoding.max_new_tokens),
    )
