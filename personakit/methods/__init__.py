"""Trains, reads and opens runs of every method, and opens baselines; `table.METHODS` lists the methods."""

from __future__ import annotations

from personakit.method import FinishedRun, Method, OpenOptions, Plan
from personakit.methods.baselines import (
    BASELINES,
    ZERO_SHOT,
    BaselineInputs,
    baseline_settings,
    open_baseline,
    open_provider,
)
from personakit.methods.runs import (
    newest_run,
    newest_run_or_voice,
    open_popi,
    open_run,
    read_run,
    register_run_providers,
    with_max_new_tokens,
)
from personakit.methods.table import METHODS, available_methods, find_method
from personakit.models.loading import open_base, open_weights
from personakit.pillow.method import open_prompted
from personakit.popi.method import open_heuristic, open_with_summary, popi_lacks
from personakit.rpo.method import REWRITERS, TUNED_CONTEXT, open_rewriter, open_tuned_context

__all__ = [
    "BASELINES",
    "METHODS",
    "REWRITERS",
    "TUNED_CONTEXT",
    "ZERO_SHOT",
    "BaselineInputs",
    "FinishedRun",
    "Method",
    "OpenOptions",
    "Plan",
    "available_methods",
    "baseline_settings",
    "find_method",
    "newest_run",
    "newest_run_or_voice",
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
    "read_run",
    "register_run_providers",
    "with_max_new_tokens",
]
