"""The results of `eval instruction` for the terminal: scores beside what training and answering took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from personakit.evaluation.instructions import LIKELIHOOD, PRIMARY, TASK
from personakit.evaluation.layout import interval, make_table, number, percent
from personakit.evaluation.table import comparisons_table, legend, methods, sentences

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

HOW_TO_READ = (
    "Likelihood: of the reference answer, in nats a token. Operations, gradient and optimizer bytes, memory "
    "and seconds are those of training, as the run recorded them; memory is the peak of the process."
)
_MOST_PAID = 10


def print_instruction_results(results: Mapping[str, Any], console: Console) -> None:
    """Print the scores, the comparisons, what training took, and what was shown."""
    for part in renderables(results):
        console.print(part, soft_wrap=False)


def renderables(results: Mapping[str, Any]) -> Iterable[RenderableType]:
    """Yield the tables and sentences of a results document, in reading order."""
    from rich.text import Text

    yield scores_table(results)
    yield Text(f"{legend(results)} {HOW_TO_READ}\n")
    if results["comparisons"]:
        yield comparisons_table(results)
        yield Text(
            "Differences are of ROUGE-L, positive is better; gain says whether the interval lies above 0.\n"
        )
    if results["training"]:
        yield training_table(results)
        yield Text("")
    shown = results["matching"]
    if shown["curve"]:
        yield curve_table(results)
        yield Text("")
    if shown["paid"]:
        yield paid_table(results)
        yield Text("Pay: what the picked prompt added to the likelihood, nats a token.\n")
    for sentence in (*sentences(results), *shown_sentences(results)):
        yield Text(f"- {sentence}")


def scores_table(results: Mapping[str, Any]) -> Table:
    """Return one line a row: every metric, the primary one's interval, and context tokens."""
    cells = {(row["method"], row["metric"]): row for row in results["rows"] if row["task"] == TASK}
    metrics = list(dict.fromkeys(metric for _, metric in cells))
    rows = []
    for method in methods(results):
        first = cells[method, PRIMARY]
        others = [number(cells[method, metric]["value"]) for metric in metrics if metric != PRIMARY]
        rows.append(
            [method, number(first["value"]), interval(first), *others, f"{first['context_tokens']:.0f}"]
        )
    others = [metric for metric in metrics if metric != PRIMARY]
    return make_table(["method", PRIMARY, "95 %\ninterval", *others, "context\ntokens"], rows)


def training_table(results: Mapping[str, Any]) -> Table:
    """Return one line a row: operations, bytes of gradients and optimizer, peak memory, seconds."""
    rows = [
        [
            one["method"],
            _engineering(one["flops"]),
            _megabytes(one["gradient_optimizer_bytes"]),
            _megabytes(one["peak_bytes"]),
            "-" if one["seconds"] is None else f"{one['seconds']:.0f}",
        ]
        for one in results["training"]
    ]
    columns = ["method", "training\noperations", "gradients +\noptimizer, MB", "peak\nMB", "seconds"]
    return make_table(columns, rows)


def curve_table(results: Mapping[str, Any]) -> Table:
    """Return one line a row and number of prompts."""
    rows = [
        [
            one["method"],
            str(one["m"]),
            number(one[PRIMARY]["value"]),
            interval(one[PRIMARY]),
            number(one[LIKELIHOOD]["value"]),
            f"{one['context_tokens']:.0f}",
        ]
        for one in results["matching"]["curve"]
    ]
    return make_table(["method", "m", PRIMARY, "95 %\ninterval", LIKELIHOOD, "context\ntokens"], rows)


def paid_table(results: Mapping[str, Any]) -> Table:
    """Return the prompts that paid most, what they paid, and for which kind of instruction most."""
    rows = []
    for one in results["matching"]["paid"][:_MOST_PAID]:
        kind, most = max(one["kinds"].items(), key=lambda item: item[1]["shown"])
        rows.append(
            [
                one["prompt"],
                str(one["shown"]),
                number(one["likelihood"], signed=True),
                number(one[PRIMARY], signed=True),
                f"{kind} ({most['shown']}, {number(most['likelihood'], signed=True)})",
            ]
        )
    return make_table(["prompt", "shown", "pay", PRIMARY, "shown most for"], rows)


def shown_sentences(results: Mapping[str, Any]) -> Iterable[str]:
    """Yield what was shown in words: spread, order, price, verdicts unread."""
    shown = results["matching"]
    for one in shown["selections"]:
        yield (
            f"{one['method']}: entropy of the prompts shown {one['entropy']:.2f} of "
            f"{one['of_entropy']:.2f} nats, {percent(one['coverage'])} of the pool shown, the most frequent "
            f"one beside {percent(one['most_shown'])} of the queries."
        )
    for one in shown["order"]:
        yield (
            f"{one['row']}: {number(one[PRIMARY]['value'], signed=True)} "
            f"{interval(one[PRIMARY], signed=True)} against the order chosen."
        )
    for one in results["prices"]:
        yield (
            f"{one['method']} trains with {percent(one['bytes'])} of the gradient and optimizer bytes of "
            f"{one['against']}"
            + ("." if one["flops"] is None else f", and {percent(one['flops'])} of its operations.")
        )
    for method, count in results.get("unread_verdicts", {}).items():
        yield f"{method}: {count} verdicts of the judge, not given or not readable, are not scored."


def _engineering(value: float | None) -> str:
    return "-" if value is None else f"{value:.2e}"


def _megabytes(value: float | None) -> str:
    return "-" if value is None else f"{value / 1e6:.1f}"
