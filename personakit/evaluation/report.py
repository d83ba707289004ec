"""`report.html`: one file that explains an evaluation, readable without a network.

User text reaches the page through Jinja's autoescape, or as compressed JSON (in base64) that the page's
script inserts as text, never as HTML. The page's content security policy allows its own script only, and
nothing from outside.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from personakit.evaluation.common_sections import legend, methods, partial_sentence
from personakit.evaluation.curves import training_charts
from personakit.evaluation.sections import Charts, Intervals, Section
from personakit.evaluation.showcase import MOST_SAMPLES, choose_samples, pack_samples
from personakit.files import write_text

REPORT_FILE = "report.html"
PLOT_FILE = "plot.svg"


@dataclass(frozen=True)
class RunAccount:
    """What the page says about a training run: its own description, and where its metrics are."""

    text: str
    metrics: Path | None = None


@dataclass(frozen=True)
class PageOptions:
    """Parts of the page that are not in the results.

    `zero` is the row against which a sample is won or lost (default: the first). `shown` are the rows whose
    samples can be browsed (default: all others). `runs` are the evaluated runs by name, `test_looks` how
    often one of them was evaluated on test, `command` the evaluation's command line.
    """

    title: str
    zero: str | None = None
    shown: Sequence[str] | None = None
    runs: Mapping[str, RunAccount] = field(default_factory=dict)
    test_looks: int = 0
    command: str | None = None
    most_samples: int = MOST_SAMPLES


def write_report(
    path: Path, results: Mapping[str, Any], sections: Sequence[Section], log: Path, options: PageOptions
) -> Path:
    """Write the page of a results document, its sections and its sample log, whole or not at all."""
    labels = methods(results)
    zero = options.zero if options.zero in labels else labels[0]
    showcase = choose_samples(log, baseline=zero, methods=options.shown, most=options.most_samples)
    page = _page(
        options,
        [*sections, _training(options.runs)],
        legend=legend(results),
        partial=partial_sentence(results["partial"]) if results.get("partial") else None,
        zero=zero,
        samples=pack_samples(showcase.samples),
        shown_samples=len(showcase.samples),
        total=showcase.total,
        made_by=_flat(results["made_by"]) + _flat({"intervals": results["intervals"]}),
    )
    write_text(path, page)
    return path


def write_plot(path: Path, sections: Sequence[Section]) -> Path | None:
    """Write the first plot of the sections as an SVG file, for a README; without one, no file and None."""
    plots = (block for section in sections for block in section.on("page") if isinstance(block, Intervals))
    plot = next(plots, None)
    if plot is None or not plot.rows:
        path.unlink(missing_ok=True)  # that of earlier results
        return None
    write_text(path, _environment().get_template("plot.svg.j2").render(plot=plot))
    return path


def write_training_report(path: Path, name: str, run: RunAccount) -> Path:
    """Write the page of a training run that has not been evaluated: its curves and its description."""
    options = PageOptions(title=name, runs={name: run})
    page = _page(
        options,
        [_training(options.runs)],
        legend="Training only: `personakit eval` measures what it is worth.",
        samples=pack_samples([]),
    )
    write_text(path, page)
    return path


def _training(runs: Mapping[str, RunAccount]) -> Section:
    metrics = {name: run.metrics for name, run in runs.items() if run.metrics is not None}
    return Section("Training", [Charts(training_charts(metrics))])


def _environment() -> Any:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("personakit.evaluation", "report_page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _page(options: PageOptions, sections: Sequence[Section], **values: Any) -> str:
    environment = _environment()
    script, _, _ = environment.loader.get_source(environment, "report.js")
    style, _, _ = environment.loader.get_source(environment, "report.css")
    empty = dict.fromkeys(("partial", "zero", "shown_samples", "total", "made_by"))
    page: str = environment.get_template("report.html.j2").render(
        **empty | values,
        options=options,
        sections=[(section.title, section.on("page")) for section in sections if section.on("page")],
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=style,
    )
    return page


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
