"""Trains, reads and opens runs of every method, and opens baselines; `table.METHODS` lists the methods."""

from __future__ import annotations

from pathlib import Path

from personakit.method import FinishedRun, Method, OpenOptions, Plan
from personakit.methods.baselines import (
    BASELINES,
    Surroundings,
    open_baseline,
    open_provider,
    settings_of_baselines,
)
from personakit.methods.runs import newest_run, offer_runs, open_popi, open_run, read_run
from personakit.methods.table import METHODS, available_methods, find_method
from personakit.models.loading import open_base, open_weights
from personakit.pillow.method import open_prompted
from personakit.popi.method import open_heuristic, open_with_summary, popi_lacks
from personakit.rpo.method import REWRITERS, TUNED_CONTEXT, open_rewriter, open_tuned_context


def read_pillow_run(folder: Path) -> FinishedRun:
    """Read a run of PILLOW; raises `UserError` for one of another method."""
    return read_run(folder, "pillow")


__all__ = [
    "BASELINES",
    "METHODS",
    "REWRITERS",
    "TUNED_CONTEXT",
    "FinishedRun",
    "Method",
    "OpenOptions",
    "Plan",
    "Surroundings",
    "available_methods",
    "find_method",
    "newest_run",
    "offer_runs",
    "open_base",
    "open_baseline",
    "open_heuristic",
    "open_popi",
    "open_prompted",
    "open_provider",
    "open_rewriter",
    "open_run",
    "open_tuned_context",
    "open_weights",
    "open_with_summary",
    "popi_lacks",
    "read_pillow_run",
    "read_run",
    "settings_of_baselines",
]
