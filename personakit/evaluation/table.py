"""The results for the terminal: readable without colour, at 80 columns.

Labels and task names go through `Text`, so that nothing in them is taken for markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from personakit.evaluation.costs import (
    HOW_TO_READ_PRICE,
    HOW_TO_READ_TRANSFER,
    price_table,
    transfer_table,
)
from personakit.evaluation.curve_points import KINDS
from personakit.evaluation.layout import interval, make_table, number, percent, percents
from personakit.evaluation.leaks import kept_out_sentence, leak_sentences
from personakit.evaluation.published import HOW_TO_READ as HOW_TO_READ_PUBLISHED
from personakit.evaluation.published import published_table
from personakit.evaluation.results import ALL, PRIMARY
from personakit.evaluation.statistics import TASKS_NEEDED
from personakit.evaluation.users import user_sentences

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

HOW_TO_READ = (
    "Differences are of the means, positive is better; better and worse count the tasks where a "
    "difference is significant after Holm's correction."
)

HOW_TO_READ_GAIN = (
    f' "Beats" needs {TASKS_NEEDED} tasks; with fewer, gain says whether the interval lies above 0 '
    "(a loss: below it)."
)

#: Counts worth a line where they are not 0, and what to call them.
_TROUBLE = {
    "errors": "without an answer, left out of the score",
    "refused": "refused by the model, scored as they stand: empty, or what was made of an empty draft",
    "degraded": "answered by a fallback",
    "unparsable": "that could not be read, scored by the task's rule for that",
    "empty_profiles": "without any history",
}


def print_results(
    results: Mapping[str, Any], console: Console, *, seconds: Mapping[str, float] | None = None
) -> None:
    """Print the scores, the comparisons, the price and what must be known to read them.

    `seconds` is what an answer of each method took (`price.seconds_of` the log).
    """
    for part in renderables(results, seconds):
        console.print(part, soft_wrap=False)


def renderables(
    results: Mapping[str, Any], seconds: Mapping[str, float] | None = None
) -> Iterable[RenderableType]:
    """Yield the tables and sentences of a results document, in reading order."""
    from rich.text import Text

    if partial := results.get("partial"):
        yield Text(partial_sentence(partial) + "\n")
    yield scores_table(results)
    yield Text(legend(results) + "\n")
    if published := results.get("published_lamp"):
        yield published_table(results)
        yield Text(HOW_TO_READ_PUBLISHED.format(split=published["split"]) + "\n")
    if results["comparisons"]:
        yield comparisons_table(results)
        yield Text(HOW_TO_READ + (HOW_TO_READ_GAIN if _few_tasks(results) else "") + "\n")
    if results.get("transfer"):
        yield transfer_table(results)
        yield Text(HOW_TO_READ_TRANSFER + "\n")
    for kind, points in results.get("curves", {}).items():
        yield Text(f"Mean over tasks by {KINDS[kind]}:")
        yield curve_table(kind, points)
    yield price_table(results, seconds)
    yield Text(HOW_TO_READ_PRICE)
    for sentence in sentences(results):
        yield Text(f"- {sentence}")


def partial_sentence(partial: Mapping[str, Any]) -> str:
    """Say how much of an evaluation there is, and why no more."""
    return f"PARTIAL: {partial['answers']} of {partial['of']} answers, then: {partial['reason']}."


def curve_table(kind: str, points: Sequence[Mapping[str, Any]]) -> Table:
    """Return method x place with the means over tasks, and under them the context tokens they took."""
    places = sorted({one["at"] for one in points})
    cells = {(one["method"], one["at"]): one for one in points}
    rows = []
    for method in dict.fromkeys(one["method"] for one in points):
        some = [cells.get((method, at)) for at in places]
        rows.append([method, *(number(one and one["value"]) for one in some)])
        rows.append(["  context tokens", *(f"{one['context_tokens']:.0f}" if one else "-" for one in some)])
    return make_table(["method", *(f"{at}\nitems" for at in places)], rows)


def scores_table(results: Mapping[str, Any]) -> Table:
    """Return method x task with each task's primary metric, the mean and the context tokens."""
    tasks = list(results["tasks"])
    cells = {(row["method"], row["task"], row["metric"]): row for row in results["rows"]}
    several = len(tasks) > 1
    rows = []
    for method in methods(results):
        shown = [cells.get((method, task, results["tasks"][task]["primary"])) for task in tasks]
        mean = cells.get((method, ALL, PRIMARY))
        context = [row["context_tokens"] for row in [*shown, mean] if row]
        means = [number(mean and mean["value"])] if several else []
        rows.append([method, *(number(row and row["value"]) for row in shown), *means, f"{context[-1]:.0f}"])
    names = [task.replace("_", "\n", 1) for task in tasks]
    return make_table(["method", *names, *(["mean"] if several else []), "context\ntokens"], rows)


def comparisons_table(results: Mapping[str, Any]) -> Table:
    """Return one line a comparison: the difference of the means, its interval, and the verdict."""
    rows = []
    for verdict in results["beats"]:
        tasks = len(verdict["p_values_holm"])
        rows.append(
            [
                verdict["method"],
                verdict["against"],
                number(verdict["difference"], signed=True),
                interval(verdict, signed=True),
                f"{len(verdict['tasks_better'])}/{len(verdict['tasks_worse'])}/{tasks}",
                verdict_word(results, verdict),
            ]
        )
    return make_table(
        [
            "method",
            "against",
            "differ-\nence",
            "95 %\ninterval",
            "better/\nworse/of",
            verdict_name(results),
        ],
        rows,
    )


def legend(results: Mapping[str, Any]) -> str:
    """Say which metric stands for which task, and over how many users."""
    by_metric: dict[str, list[str]] = {}
    for task, facts in results["tasks"].items():
        direction = " (lower is better)" if facts["lower_is_better"] else ""
        by_metric.setdefault(facts["primary"] + direction, []).append(task)
    parts = [f"{', '.join(tasks)}: {metric}" for metric, tasks in by_metric.items()]
    overall = [row for row in results["rows"] if row["task"] == ALL] or results["rows"]
    users, examples = overall[0]["users"], overall[0]["examples"]
    seeds = max(row["seeds"] for row in results["rows"])
    trained = f", {seeds} training seeds" if seeds > 1 else ""
    return "; ".join(parts) + f". {examples} examples of {users} {results['users_are']}{trained}."


def sentences(results: Mapping[str, Any]) -> Iterable[str]:
    """Yield what the tables cannot say: failed conditions, the wrong-user test, shares, counts."""
    for verdict in results["beats"]:
        if verdict["failed"] and len(results["tasks"]) > 1:  # of one task the gain column tells all
            yield (f"{verdict['method']} does not beat {verdict['against']}: {'; '.join(verdict['failed'])}.")
        below = _below(results, verdict["method"], verdict["against"])
        if below and len(results["tasks"]) > 1:
            yield (
                f"{verdict['method']} against {verdict['against']}: the interval of the difference, of each "
                f"task by itself, lies wholly below 0 on {', '.join(below)}."
            )
    if "leaks" in results:
        yield from leak_sentences(results["leaks"])
    if "kept_out" in results:
        yield kept_out_sentence(results["kept_out"])
    yield from results.get("warnings", ())
    yield from user_sentences(results.get("users", ()))
    for test in results["wrong_user"]:
        outcome = "holds" if test["holds"] else f"fails: {'; '.join(test['failed'])}"
        gain = test["right_minus_wrong"]
        yield (
            f"wrong-user test of {test['right']} {outcome} "
            f"(right - wrong {number(gain['value'], signed=True)} {interval(gain, signed=True)}; "
            f"wrong history's share of the gain {percent(test['share']['value'])})."
        )
    for gap in results["gap_closed"]:
        of = f"of the gap from {gap['from']} to {gap['to']}"
        if gap["value"] is None:
            yield f"{gap['method']}: what it closes {of} cannot be told, since there may be none."
        else:
            closed = f"{percent(gap['value'])} {percents(gap['low'], gap['high'])}".strip()
            yield f"{gap['method']} closes {closed} {of}."
    for method in methods(results):
        trouble = _trouble(results, method)
        if trouble:
            yield f"{method}: {'; '.join(trouble)}."
    yield from results.get("notes", ())


def methods(results: Mapping[str, Any]) -> list[str]:
    """Return the labels in the order they were run."""
    return list(dict.fromkeys(row["method"] for row in results["rows"]))


def _one_per_task(results: Mapping[str, Any], method: str) -> list[Mapping[str, Any]]:
    tasks = results["tasks"]
    return [
        row
        for row in results["rows"]
        if row["method"] == method and row["task"] != ALL and row["metric"] == tasks[row["task"]]["primary"]
    ]


def _trouble(results: Mapping[str, Any], method: str) -> list[str]:
    """Count what went wrong; a control that is given no history on purpose need not be told about."""
    rows = _one_per_task(results, method)
    counts = {name: sum(row.get(name, 0) for row in rows) for name in _TROUBLE}  # old results know fewer
    samples = sum(row["examples"] * row["seeds"] for row in rows)
    if counts["empty_profiles"] == samples:
        del counts["empty_profiles"]
    return [f"{count} of {samples} samples {_TROUBLE[name]}" for name, count in counts.items() if count]


def _below(results: Mapping[str, Any], method: str, against: str) -> list[str]:
    """The tasks on which `method` is worse, without Holm's correction, which is lenient to losses."""
    return [
        row["task"]
        for row in results["comparisons"]
        if (row["method"], row["against"]) == (method, against)
        and row["metric"] == results["tasks"].get(row["task"], {}).get("primary")
        and row["high"] is not None
        and row["high"] < 0
    ]


def _few_tasks(results: Mapping[str, Any]) -> bool:
    """Tell whether there are too few tasks for anything to beat anything."""
    return len(results["tasks"]) < TASKS_NEEDED


def verdict_name(results: Mapping[str, Any]) -> str:
    """Return what a comparison can be said to show: of too few tasks for "beats", a gain."""
    return "gain" if _few_tasks(results) else "beats"


def verdict_word(results: Mapping[str, Any], verdict: Mapping[str, Any]) -> str:
    """Return yes or no (of a gain also loss, or - where it has no interval)."""
    if not _few_tasks(results):
        return "yes" if verdict["holds"] else "no"
    low, high = verdict["low"], verdict["high"]
    if low is None:
        return "-"
    return "yes" if low > 0 else "loss" if high < 0 else "no"
