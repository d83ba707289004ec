"""The one room that knows all methods: opens a run's folder, or a baseline's name, as a Personalizer."""

from __future__ import annotations

from pathlib import Path

from personakit.contracts import Personalizer
from personakit.methods.baselines import BASELINES, Surroundings, open_baseline, settings_of_baselines
from personakit.methods.open_models import open_base, open_weights
from personakit.methods.pillow import open_pillow, open_prompted, read_pillow_run
from personakit.methods.popi import open_heuristic, open_popi, open_with_summary, popi_lacks
from personakit.methods.providers import offer_runs, open_provider
from personakit.methods.rpo import open_rewriter, open_tuned_context
from personakit.methods.runs import REWRITERS, FinishedRun, newest_run, read_run

__all__ = [
    "BASELINES",
    "REWRITERS",
    "FinishedRun",
    "Surroundings",
    "newest_run",
    "offer_runs",
    "open_base",
    "open_baseline",
    "open_heuristic",
    "open_popi",
    "open_prompted",
    "open_provider",
    "open_run",
    "open_tuned_context",
    "open_weights",
    "open_with_summary",
    "popi_lacks",
    "read_pillow_run",
    "read_run",
    "settings_of_baselines",
]


def open_run(
    folder: Path | FinishedRun,
    *,
    base: str | None = None,
    rewrite_without_history: bool = False,
    rewriter: str | None = None,
) -> Personalizer:
    """Open a finished run as the Personalizer it trained.

    `base` puts another black box in front of it than the one it was trained on;
    `rewrite_without_history` is the control that rewrites even where the history is empty; `rewriter` names
    another rewriter of the run than its model (`REWRITERS`). Raises `UserError` where that was not trained.
    Behind POPI's summaries `base` answers in the place of the run's generator.
    """
    run = read_run(folder) if isinstance(folder, Path) else folder
    if run.method == "pillow":
        return open_pillow(run.folder, base)
    if run.method == "popi":
        another = None if base in (None, run.settings.model) else open_base(str(base))
        return open_popi(run.folder).personalizer(another)
    return open_rewriter(run, base, rewrite_without_history, rewriter)
