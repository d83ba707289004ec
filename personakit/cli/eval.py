"""`personakit eval`: one command per suite, generated from the suites' options."""

from __future__ import annotations

import inspect
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from personakit.cli.command import command, group
from personakit.cli.errors import resumable
from personakit.cli.options import at_least_one, checked_share
from personakit.cli.output import Result, console, escaped, note, table
from personakit.errors import UserError
from personakit.suites import SUITES, Options, Suite

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.suites.run import Outcome

#: The flag, value name and help text of each field of `Options`; a suite may give another help text.
_OPTIONS: dict[str, tuple[str, str | None, str]] = {
    "runs": ("--run", "DIR", "A run's folder; repeatable; by default the newest."),
    "no_run": ("--no-run", None, "Baselines only, of --base, by default smollm2."),
    "bases": (
        "--base",
        "MODEL",
        "Another base model than in training, repeatable: adds its generic row, the method's row with it, "
        "and the fraction of the method's gain that is kept. With --no-run: the baselines' base model.",
    ),
    "baselines": (
        "--baseline",
        "NAME",
        "A row of the table, repeatable: {rows}; all: the default rows. By default all that data and "
        "run allow.",
    ),
    "data": (
        "--data",
        "PATH",
        "lamp-mini, or a folder of LaMP's files; by default the run's own data.",
    ),
    "tasks": ("--task", "TASK", "A task such as LaMP_3; repeatable; by default all in the data."),
    "split": ("--split", "SPLIT", "train, dev or test."),
    "limit": ("--limit", "N", "At most N queries per task."),
    "seed": ("--seed", "N", "The random seed of the evaluation."),
    "output": ("--output", "DIR", "A new folder; by default one in runs/."),
    "resume": ("--resume", None, "Continue a stopped evaluation."),
    "dry_run": ("--dry-run", None, "Check names and data and estimate the requests to APIs; run nothing."),
    "strict": (
        "--strict",
        None,
        "Fail before the first answer if a query leaks: its answer or text is in the user's history, the "
        "user is in the training split, or a run was trained on it. By default leaks are counted and listed.",
    ),
    "curves": (
        "--curve",
        "KIND",
        "Score against history: the newest 0, 1, 2, 4, ... items (cold start); or, in LaMP's tasks, k: items "
        "retrieved; repeatable. Every point is a separate pass over the data.",
    ),
    "sample_ids": ("--sample-id", "ID", "Only the query with this id; repeatable."),
    "concurrency": (
        "--concurrency",
        "N",
        "Requests to an API at once; by default endpoint.requests_at_once of the run.",
    ),
    "max_new_tokens": (
        "--max-new-tokens",
        "N",
        "Maximum tokens of a base model's answer; by default decoding.max_new_tokens of the run, or what the "
        "task needs. A model that reasons needs more.",
    ),
    "max_edit": (
        "--max-edit",
        "SHARE",
        "Adds a row of light edits (RPO): at most this share (0 to 1) of the draft's words changed, such as "
        "0.2, and no fact lost or invented.",
    ),
    "published": (
        "--published",
        "NAME",
        "Show LaMP's leaderboard for its split, user or time; by default where the data is LaMP's own.",
    ),
    "judge": ("--judge", "MODEL", "A model that compares answers, in both orders."),
    "judge_tokens": (
        "--judge-tokens",
        "N",
        "Maximum tokens of a verdict; a judge that reasons needs more.",
    ),
    "per_user": (
        "--per-user/--no-per-user",
        None,
        "Whether to train a LoRA adapter for every user, the slowest row.",
    ),
    "variants": (
        "--variants/--no-variants",
        None,
        "Also other numbers of prompts, and the selected prompts in another order.",
    ),
}
_CHECKS: dict[str, Any] = {"limit": at_least_one, "max_edit": checked_share}
_MINIMUM = {"judge_tokens": 1, "max_new_tokens": 1, "concurrency": 1, "seed": 0}
_PREDICTIONS = {
    "predictions": ("--predictions", "FILE", "Score this file (or a folder of all seven) and exit."),
    "golds": ("--golds", "FILE", "The golds of --predictions."),
}


def register(root: typer.Typer) -> None:
    """Add the group to `root`, with a command for each suite."""
    app = group("eval", "Evaluate against controls.")
    for suite in SUITES.values():
        _register(app, suite)
    root.add_typer(app)


def _register(app: typer.Typer, suite: Suite) -> None:
    def evaluate(**given: Any) -> Result:
        predictions, golds = given.pop("predictions", None), given.pop("golds", None)
        if predictions is not None or golds is not None:
            return _score(predictions, golds)
        return _evaluate(suite, Options(**given))

    kinds = get_type_hints(Options, localns={"Sequence": list, "Path": Path})
    defaults = {each.name: each.default for each in fields(Options)}
    parameters = [
        _parameter(name, kinds[name], defaults[name], suite) for name in _OPTIONS if name in suite.options
    ]
    if suite.scores_files:
        parameters += [
            _annotated(name, Path | None, None, typer.Option(flag, metavar=value, help=text))
            for name, (flag, value, text) in _PREDICTIONS.items()
        ]
    evaluate.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    evaluate.__doc__ = suite.help
    command(app, suite.name)(evaluate)


def _parameter(name: str, kind: Any, default: Any, suite: Suite) -> inspect.Parameter:
    flag, value, text = _OPTIONS[name]
    help = suite.help_of.get(name, text).format(rows=", ".join(suite.row_names))
    option = typer.Option(flag, metavar=value, help=help, callback=_CHECKS.get(name), min=_MINIMUM.get(name))
    many = default == ()
    return _annotated(name, kind, [] if many else default, option)


def _annotated(name: str, kind: Any, default: Any, option: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _evaluate(suite: Suite, options: Options) -> Result:
    import shlex
    import sys
    from dataclasses import replace

    from personakit.evaluation.sections import print_sections
    from personakit.suites.folder import folder_for
    from personakit.suites.run import Reporting, run
    from personakit.training.progress import choose_progress

    folder = folder_for(suite.name, options.split, options.output, resume=options.resume)
    resume_with = _resume_command(folder)
    stderr = console(sys.stderr)
    reporting = Reporting(note, lambda sections: print_sections(sections, stderr), choose_progress())
    with resumable(resume_with):
        outcome = run(
            suite.name,
            replace(options, output=folder),
            reporting,
            command=shlex.join(["personakit", *sys.argv[1:]]),
            resume_with=resume_with,
        )

    def show(out: Console) -> None:
        print_sections(outcome.sections, out)
        if outcome.folder is not None:
            out.print(escaped(str(outcome.folder)))

    return Result(_document(outcome), show)


def _document(outcome: Outcome) -> dict[str, Any]:
    """The results for `--json`, with seconds per answer, which are not in `results.json`."""
    from personakit.evaluation.measurements import read_costs
    from personakit.evaluation.samples import SAMPLES_FILE

    if outcome.folder is None:
        return outcome.results
    costs = read_costs(outcome.folder / SAMPLES_FILE)
    seconds = {method: round(cost.per_answer("seconds"), 6) for method, cost in costs.items()}
    return {**outcome.results, "seconds_per_answer": seconds, "folder": str(outcome.folder)}


def _resume_command(folder: Path) -> str:
    import shlex
    import sys

    words = sys.argv[1:]
    if "--output" not in words:
        words = [*words, "--output", str(folder)]
    return shlex.join(["personakit", *(word for word in words if word != "--resume"), "--resume"])


def _score(predictions: Path | None, golds: Path | None) -> Result:
    """Score prediction files of other systems."""
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
                out.print(f"warning: {escaped(warning)}")

    return Result(document, show)
