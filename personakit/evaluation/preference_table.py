"""The results of a preference evaluation for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from personakit.evaluation.costs import transfer_table
from personakit.evaluation.layout import interval, make_table, number
from personakit.evaluation.preferences import ACCURACY, BITS, SAME_CONTEXT
from personakit.evaluation.table import legend, methods, sentences

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

HOW_TO_READ = (
    "Accuracy: the share of held-out pairs whose preferred answer has the higher implicit reward "
    "beta (log p - log ref), ties half; ref is not told of the user. Same context: ref is told what the "
    "judged model is told (0.5 by definition where nothing was trained). Bits: 1 + log2 sigmoid(margin), "
    "0 for knowing nothing; differences between rows are gains of cross-entropy."
)
HOW_TO_READ_DIFFERENCES = (
    "{method} less each other row: accuracy, paired over users and seeds, p after Holm's correction over the "
    "rows; bits, the gain of cross-entropy."
)
HOW_TO_READ_TRANSFER = (
    "Frozen models that never saw a summary, given POPI's: the gain over what they prefer without one, and "
    "the share that it is of POPI's own gain."
)
HOW_TO_READ_JUDGED = (
    "Wins: answers that a judge, who is told of the user and asked in both orders, prefers to those of the "
    "row beside; ties half. Unread: verdicts not given, or that could not be read, left out of the share."
)


def print_preferences(results: Mapping[str, Any], console: Console) -> None:
    """Print the scores, the comparisons, transfer, published figures and what must be known to read them."""
    for part in renderables(results):
        console.print(part, soft_wrap=False)


def renderables(results: Mapping[str, Any]) -> Iterable[RenderableType]:
    """Yield the tables and sentences of a results document, in reading order."""
    from rich.text import Text

    yield scores_table(results)
    yield Text(f"{legend(results)} {HOW_TO_READ}\n")
    if results["beats"]:
        yield comparisons_table(results)
        yield Text(HOW_TO_READ_DIFFERENCES.format(method=results["beats"][0]["method"]) + "\n")
    if results["transfer"]:
        yield transfer_table(results)
        yield Text(HOW_TO_READ_TRANSFER + "\n")
    if results.get("judged", {}).get("rows"):
        yield judged_table(results["judged"])
        yield Text(HOW_TO_READ_JUDGED + "\n")
    for sentence in sentences(results):
        yield Text(f"- {sentence}")


def scores_table(results: Mapping[str, Any]) -> Table:
    """Return a line a row: accuracy under both references, bits, context tokens."""
    cells = {(row["method"], row["metric"]): row for row in results["rows"]}
    rows = []
    for method in methods(results):
        accuracy = cells[method, ACCURACY]
        rows.append(
            [
                method,
                number(accuracy["value"]),
                interval(accuracy),
                number(cells[method, SAME_CONTEXT]["value"]),
                number(cells[method, BITS]["value"], signed=True),
                f"{accuracy['context_tokens']:.1f}",
            ]
        )
    return make_table(
        ["method", "accu-\nracy", "95 %\ninterval", "same\ncontext", "bits", "context\ntokens"], rows
    )


def comparisons_table(results: Mapping[str, Any]) -> Table:
    """Return what the first of the compared is against each other row: accuracy and bits, with intervals."""
    method = results["beats"][0]["method"]
    bits = {
        row["against"]: row
        for row in results["comparisons"]
        if (row["method"], row["metric"]) == (method, BITS)
    }
    rows = [
        [
            verdict["against"],
            number(verdict["difference"], signed=True),
            interval(verdict, signed=True),
            number(verdict["p_holm"]),
            number(bits[verdict["against"]]["difference"], signed=True),
            interval(bits[verdict["against"]], signed=True),
        ]
        for verdict in results["beats"]
        if verdict["method"] == method
    ]
    return make_table(["against", "differ-\nence", "95 %\ninterval", "p", "bits", "95 %\ninterval"], rows)


def judged_table(judged: Mapping[str, Any]) -> Table:
    """Return how often each row's answers are preferred to those of a row that knows nothing of the user."""
    rows = [
        [
            row["method"],
            judged["against"][row["method"]],
            number(row["value"]),
            interval(row),
            f"{judged['unread'][row['method']]}/{judged['asked'][row['method']]}",
        ]
        for row in judged["rows"]
    ]
    return make_table(["method", "against", "wins", "95 %\ninterval", "un-\nread"], rows)


def notes(results: Mapping[str, Any]) -> Iterable[str]:
    """Yield what tables and report say besides: what was left out, what it took, published figures."""
    yield from _counts(results)
    for row in results["published_accuracies"]:
        figures = ", ".join(f"{name} {value:.2f}" for name, value in row["accuracy"].items())
        yield f"published, accuracy in percent, {row['method']} ({row['source']}): {figures}."


def _counts(results: Mapping[str, Any]) -> Iterable[str]:
    """Yield what was left out, and where."""
    for reason, count in results["skipped"].items():
        yield f"left out: {count} {reason}."
    for method, count in results.get("judged", {}).get("unread", {}).items():
        if count and not results["judged"]["rows"]:
            yield f"{method}: none of the judge's {count} verdicts could be read."
    for method, count in results.get("judged", {}).get("failed", {}).items():
        yield f"{method}: {count} requests without an answer, left out of the judge's share."
    for method, count in results.get("judged", {}).get("refused", {}).items():
        yield f"{method}: {count} requests refused by the model, judged as they stand: mostly empty."
    for method, cost in results["adapters"].items():
        yield (
            f"{method}: an adapter for each of {cost['users']} users, {cost['bytes'] / 1e3:.0f} kB and "
            f"{cost['training_tokens']:.0f} training tokens a user."
        )
    for method, counts in results["left_out"].items():
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items() if kind != "users")
        yield f"{method}: of {counts['users']} users not all signals fit the prompt ({kinds} were left out)."
