"""`personakit eval`: a method against its controls, or prediction files made elsewhere."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from personakit.cli.command import command, group
from personakit.cli.eval_options import InstructionRequest, PreferenceRequest, Request
from personakit.cli.output import Result, harmless, table
from personakit.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

app = group("eval", "Evaluate against controls.")


def register(root: typer.Typer) -> None:
    """Add the group to `root`."""
    root.add_typer(app)


@command(app, "lamp", Request, leave_out=("suite",))
def lamp(request: Request) -> Result:
    """Evaluate on LaMP's tasks by LaMP's rules.

    Several --run that differ in their seed are one row, with intervals over users and seeds. Writes
    results.json, every sample, prediction files in LaMP's format, and report.html. Work on dev: a look
    at test is recorded in the run.
    """
    from personakit.cli.evaluating import evaluate_request

    if request.predictions is not None or request.golds is not None:
        return _score(request.predictions, request.golds)
    return evaluate_request(request)


@command(app, "rewriting", Request, leave_out=("suite", "tasks", "published", "predictions", "golds"))
def rewriting(request: Request) -> Result:
    """Evaluate on people's rewrites of texts.

    ROUGE-L and edit distance to what the user wrote, beside the row that copies the original.
    """
    from personakit.cli.evaluating import evaluate_request

    return evaluate_request(replace(request, suite="rewriting", tasks=["rewriting"]))


@command(app, "preference", PreferenceRequest)
def preference(request: PreferenceRequest) -> Result:
    """Evaluate on held-out pairs: is what this user preferred favoured, and what does knowing them cost?

    Several --run that differ in their seed are one row, with intervals over users and seeds. Writes
    results.json, every pair's margin and report.html. Work on dev: a look at test is recorded in the run.
    """
    from personakit.cli.preference_evaluating import evaluate_preferences

    return evaluate_preferences(request)


@command(app, "instruction", InstructionRequest)
def instruction(request: InstructionRequest) -> Result:
    """Evaluate what picks prompts for instructions (PILLOW) against what else could.

    Several --run that differ in their seed are one row, with intervals over instructions and seeds. Beside
    scores stand what training took, how many prompts pay, in which order, and which for what. Work on dev: a
    look at test is recorded in the run.
    """
    from personakit.cli.instruction_evaluating import evaluate_instructions

    return evaluate_instructions(request)


def _score(predictions: Path | None, golds: Path | None) -> Result:
    """Score files made elsewhere."""
    from personakit.tasks.predictions import score_files, score_folders

    if predictions is None or golds is None:
        raise UserError(
            f"--{'golds' if predictions is None else 'predictions'} was given alone, expected both",
            hint="personakit eval lamp --predictions FILE --golds FILE",
        )
    if predictions.is_dir() and golds.is_dir():
        benchmark = score_folders(predictions, golds)
        reports, primary = list(benchmark.reports.values()), benchmark.primary
    else:
        reports, primary = [score_files(predictions, golds)], None
    document: dict[str, Any] = {"scores": [asdict(report) for report in reports]}
    if primary is not None:
        document["primary"] = primary
    rows = [
        (report.task, metric, value, report.examples)
        for report in reports
        for metric, value in report.metrics.items()
    ]

    def show(out: Console) -> None:
        table(out, ("task", "metric", "value", "examples"), rows)
        if primary is not None:
            out.print(f"primary figure (mean of accuracy, 1 - MAE/4 and ROUGE-1): {primary:.4f}")
        for report in reports:
            for warning in report.warnings:
                out.print(f"warning: {harmless(warning)}")

    return Result(document, show)
