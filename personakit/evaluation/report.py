"""`report.html`: one file that explains an evaluation, readable without a network, by anybody.

User text reaches the page in two ways only: through Jinja's autoescape, and as compressed JSON (in
base64) that the page's script puts in place as text, never as HTML. The page's content security
policy allows its own script and nothing from outside.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personakit.evaluation.charts import Axis, Dot, Plot, PointChart, point_chart
from personakit.evaluation.costs import costs_of
from personakit.evaluation.curve_points import KINDS
from personakit.evaluation.curves import training_charts
from personakit.evaluation.layout import interval, percent, percents
from personakit.evaluation.published import HOW_TO_READ as HOW_TO_READ_PUBLISHED
from personakit.evaluation.results import ALL, PRIMARY
from personakit.evaluation.showcase import MOST_SAMPLES, choose_samples, pack_samples
from personakit.evaluation.shown_report import shown_section
from personakit.evaluation.table import (
    legend,
    methods,
    partial_sentence,
    sentences,
    verdict_name,
    verdict_word,
)
from personakit.files import write_text

REPORT_FILE = "report.html"


def write_report(
    path: Path,
    results: Mapping[str, Any],
    log: Path,
    *,
    title: str,
    baseline: str | None = None,
    shown: Sequence[str] | None = None,
    training: Mapping[str, Path] | None = None,
    test_looks: int = 0,
    most_samples: int = MOST_SAMPLES,
    runs: Mapping[str, str] | None = None,
    command: str | None = None,
) -> Path:
    """Write the report of a results document and its sample log, whole or not at all.

    `baseline` is the row against which a sample is won or lost (default: the first); `shown` are the
    rows whose samples can be browsed (default: all others); `training` maps a label to the
    `metrics.jsonl` of a run; `runs` maps a run's name to what it says of itself (versions, configuration);
    `command` is what the evaluation was begun with.
    """
    labels = methods(results)
    base = baseline if baseline in labels else labels[0]
    showcase = choose_samples(log, baseline=base, methods=shown, most=most_samples)
    page = _page(
        title=title,
        legend=legend(results),
        sentences=list(sentences(results)),
        overall=_plot(results, ALL, base),
        by_task=[_plot(results, task, base) for task in results["tasks"]],
        differences=_differences(results),
        verdict_name=verdict_name(results),
        users_are=results["users_are"],
        transfer=_transfer(results),
        shown=shown_section(results),
        curves=training_charts(training or {}),
        points=_point_charts(results),
        partial=partial_sentence(results["partial"]) if results.get("partial") else None,
        published=_published(results),
        users=results.get("users", ()),
        runs=runs or {},
        command=command,
        costs=_costs(results, log),
        baseline=base,
        samples=pack_samples(showcase.samples),
        shown_samples=len(showcase.samples),
        total=showcase.total,
        made_by=_flat(results["made_by"]) + _flat({"intervals": results["intervals"]}),
        test_looks=test_looks,
    )
    write_text(path, page)
    return path


def write_training_report(path: Path, training: Mapping[str, Path], runs: Mapping[str, str]) -> Path:
    """Write the page of training runs that nothing has been evaluated of: their curves, and what they say.

    `training` and `runs` as in `write_report`.
    """
    page = _page(
        title=", ".join(runs),
        legend="Training only: personakit eval says what it is worth.",
        curves=training_charts(training),
        samples=pack_samples([]),
        runs=runs,
    )
    write_text(path, page)
    return path


def _page(**values: Any) -> str:
    """Fill in the page; what is not given is left out of it."""
    import jinja2

    loader = jinja2.PackageLoader("personakit.evaluation", "report_page")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script, _, _ = loader.get_source(environment, "report.js")
    style, _, _ = loader.get_source(environment, "report.css")
    blank = dict.fromkeys(
        (
            *(
                "partial",
                "test_looks",
                "overall",
                "baseline",
                "sentences",
                "differences",
                "verdict_name",
                "users_are",
                "points",
                "users",
            ),
            *("transfer", "by_task", "shown", "curves", "published", "shown_samples", "total", "costs"),
            *("made_by", "command"),
        )
    )
    whole: str = environment.get_template("report.html.j2").render(
        **{
            **blank,
            **values,
            "script": script,
            "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            "style": style,
        }
    )
    return whole


def _plot(results: Mapping[str, Any], task: str, baseline: str) -> Plot | None:
    """Plot every method's primary metric on a task, or the mean over tasks (None: nobody has one)."""
    metric = PRIMARY if task == ALL else results["tasks"][task]["primary"]
    rows = [row for row in results["rows"] if (row["task"], row["metric"]) == (task, metric)]
    if not rows:
        return None
    axis = Axis.over(row[end] for row in rows for end in ("value", "low", "high"))
    lower = task != ALL and results["tasks"][task]["lower_is_better"]
    line = next((axis.at(row["value"]) for row in rows if row["method"] == baseline and row["value"]), None)
    return Plot(
        title="Mean over tasks" if task == ALL else task,
        note=("each task's metric in 0 to 1" if task == ALL else metric)
        + (", lower is better" if lower else ", higher is better"),
        ticks=axis.ticks(),
        dots=[
            _dot(row, "value", row["method"], f"{row['context_tokens']:.0f}", axis, row["method"] == baseline)
            for row in rows
        ],
        line=line,
    )


def _differences(results: Mapping[str, Any]) -> Plot | None:
    rows = [row for row in results["comparisons"] if row["task"] == ALL]
    if not rows:
        return None
    axis = Axis.over([0.0, *(row[end] for row in rows for end in ("difference", "low", "high"))])
    verdicts = {(one["method"], one["against"]): verdict_word(results, one) for one in results["beats"]}
    return Plot(
        title="Paired differences of the means",
        note="right of the line is better",
        ticks=axis.ticks(),
        dots=[
            _dot(
                row,
                "difference",
                f"{row['method']} − {row['against']}",
                verdicts.get((row["method"], row["against"]), "no"),
                axis,
                False,
            )
            for row in rows
        ],
        line=axis.at(0.0),
    )


def _transfer(results: Mapping[str, Any]) -> Plot | None:
    """Plot the share of its gain that a rewriter keeps behind each base it never saw."""
    rows = [row for row in results.get("transfer", ()) if row["share"] is not None]
    if not rows:
        return None
    axis = Axis.over([0.0, 1.0, *(row[end] for row in rows for end in ("share", "low", "high"))])
    return Plot(
        title="Behind bases it never saw",
        note="share of the gain over the generic answers that is kept; 1 is all of it",
        ticks=axis.ticks(),
        dots=[_dot(row, "share", row["base"], f"{row['gain']['value']:+.3f}", axis, False) for row in rows],
        line=axis.at(1.0),
    )


def _point_charts(results: Mapping[str, Any]) -> list[PointChart]:
    """Draw the curves that were measured, and the price of every row and point in context tokens."""
    charts = []
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for kind, points in results.get("curves", {}).items():
        by_method = _grouped(points)
        charts.append(
            point_chart(
                f"By {KINDS[kind]}",
                "mean over tasks" + (": cold start" if kind == "history" else ""),
                KINDS[kind],
                by_method,
                "at",
                evenly=True,
            )
        )
        lines = lines or {f"{method}, by {KINDS[kind]}": some for method, some in by_method.items()}
    tasks = results["tasks"]
    only = next(iter(tasks))
    wanted = (ALL, PRIMARY) if len(tasks) > 1 else (only, tasks[only]["primary"])
    rows = [row for row in results["rows"] if (row["task"], row["metric"]) == wanted]
    if len(tasks) > 1 or not lines:  # of one task the curves are in [0, 1], the rows in its metric
        lines |= {row["method"]: [row] for row in rows}
    for label, some in lines.items():
        lines[label] = sorted(some, key=lambda one: one["context_tokens"])
    note = "what is told of the user, in tokens of the model that is told"
    charts.append(point_chart("The price", note, "context tokens an answer", lines, "context_tokens"))
    return [chart for chart in charts if chart is not None]


def _grouped(points: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    by_method: dict[str, list[Mapping[str, Any]]] = {}
    for one in points:
        by_method.setdefault(one["method"], []).append(one)
    return by_method


def _published(results: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return LaMP's leaderboard as rows of text: a model, then its figures in each task."""
    found = results.get("published_lamp")
    if not found:
        return None
    tasks = list(dict.fromkeys(row["task"] for row in found["rows"]))
    cells: dict[tuple[str, str], list[str]] = {}
    for row in found["rows"]:
        cells.setdefault((row["model"], row["task"]), []).append(f"{row['value']:.3f}")
    models = dict.fromkeys(row["model"] for row in found["rows"])
    return {
        "note": HOW_TO_READ_PUBLISHED.format(split=found["split"]),
        "tasks": tasks,
        "rows": [
            (model, [" / ".join(cells.get((model, task), ["-"])) for task in tasks]) for model in models
        ],
    }


def _dot(row: Mapping[str, Any], name: str, label: str, detail: str, axis: Axis, marked: bool) -> Dot:
    value, signed = row[name], name == "difference"
    text = "-" if value is None else f"{value:+.3f}" if signed else f"{value:.3f}"
    at, low, high = (None if row[end] is None else axis.at(row[end]) for end in (name, "low", "high"))
    return Dot(label, f"{text} {interval(row, signed=signed)}".strip(), detail, at, low, high, marked)


def _costs(results: Mapping[str, Any], log: Path) -> list[dict[str, Any]]:
    """Return what each method's answers took and kept, over tasks and seeds."""
    last = {row["method"]: row for row in results["rows"]}  # the last of a method is that over all tasks
    return [
        {
            "method": method,
            "answers": cost.samples,
            "kept": _kept(last.get(method, {})),
            "context": f"{cost.per_answer('context_tokens'):.0f}",
            "tokens": f"{cost.per_answer('tokens'):.0f}",
            "seconds": f"{cost.per_answer('seconds'):.3g}",
            "errors": cost.errors,
            "refused": cost.refused,
            "degraded": cost.degraded,
            "unparsable": cost.unparsable,
            "empty_profiles": cost.empty_profiles,
        }
        for method, cost in costs_of(log).items()
    ]


def _kept(row: Mapping[str, Any]) -> str:
    share = row.get("content_kept")
    if share is None:
        return "-"
    return f"{percent(share)} {percents(row['content_kept_low'], row['content_kept_high'])}".strip()


def _flat(record: Mapping[str, Any], path: str = "") -> list[tuple[str, str]]:
    """Return nested settings as (dotted name, text) pairs."""
    pairs: list[tuple[str, str]] = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{path}{name}.")
        elif isinstance(value, list | tuple):
            pairs.append((f"{path}{name}", ", ".join(map(str, value))))
        else:
            pairs.append((f"{path}{name}", str(value)))
    return pairs
