"""The sections that all suites share, from a results document: scores, comparisons, findings, costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from personakit.evaluation.charts import PointChart, point_chart
from personakit.evaluation.curve_points import KINDS
from personakit.evaluation.leaks import leak_sentences
from personakit.evaluation.measurements import Costs
from personakit.evaluation.results import ALL, PRIMARY
from personakit.evaluation.sections import (
    Block,
    Charts,
    IntervalRow,
    Intervals,
    Panels,
    Section,
    Sentences,
    Table,
    Text,
    interval,
    number,
    percent,
    percent_interval,
)
from personakit.evaluation.statistics import TASKS_NEEDED
from personakit.evaluation.users import user_sentences

Results = Mapping[str, Any]

#: Counts that get a sentence where they are not 0.
_PROBLEMS = {
    "errors": "without an answer, not scored",
    "refused": "refused by the model, scored as they are: empty, or rewritten from an empty draft",
    "cut": "cut by the token limit",
    "prompts_cut": "with a prompt longer than the model's context window: its middle was cut",
    "degraded": "answered by a fallback",
    "unparsable": "unparsable, scored by the task's rule for that",
    "empty_profiles": "without a history",
}
_BEATS = (
    "Both rows answer for the same users and share every resample. A row beats another where the interval is "
    "above 0, at least 5 of 7 tasks are significantly better after Holm's correction, none is worse, and "
    "every training seed agrees."
)
_GAIN = (
    f'Positive is better. "Beats" needs {TASKS_NEEDED} tasks; with fewer, gain says whether the interval is '
    "above 0 (loss: below it)."
)


def methods(results: Results) -> list[str]:
    """Return the labels of the rows, in the order they were run."""
    return list(dict.fromkeys(row["method"] for row in results["rows"]))


def legend(results: Results) -> str:
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


def score_section(results: Results, zero: str, *blocks: Block, note: str = "") -> Section:
    """Return the scores: `blocks` (by default the method x task table), and plots for the page.

    `zero` is the row that the plots compare with.
    """
    tasks = list(results["tasks"])
    plot = _score_plot(results, ALL if len(tasks) > 1 else tasks[0], zero)
    read = f"Bars are 95 % intervals over {results['users_are']} and training seeds. The line is {zero}."
    return Section(
        "Scores",
        [
            *(blocks or [_score_table(results)]),
            Text(legend(results), on="terminal"),  # the page has it in its header
            Text(note),
            *([plot] if plot else []),
            Text(read, on="page"),
        ],
    )


def task_section(results: Results, zero: str) -> Section:
    """Return a plot per task, for the page, where there are several."""
    tasks = results["tasks"] if len(results["tasks"]) > 1 else ()
    plots = [plot for task in tasks if (plot := _score_plot(results, task, zero))]
    return Section("Task by task", [Panels(plots)])


def comparison_section(results: Results, *blocks: Block) -> Section:
    """Return the paired differences of the primary figures with their verdicts, or `blocks` instead."""
    return Section("Comparisons", blocks or [_comparisons(results), Text(_verdict_note(results))])


def findings_section(results: Results) -> Section:
    """Return the sentences of `findings`."""
    return Section("Findings", [Sentences(list(findings(results)))])


def transfer_section(results: Results, note: str) -> Section:
    """Return the gains with base models that the method was not trained with."""
    rows = [
        IntervalRow(
            [one["base"]],
            one["share"],
            one["low"],
            one["high"],
            [
                number(one["gain"]["value"], signed=True),
                interval(one["gain"], signed=True),
                number(one["own_gain"]["value"], signed=True),
            ],
        )
        for one in results.get("transfer", ())
    ]
    columns = ["base", "share\nkept", "gain\nthere", "95 %\ninterval", "own\ngain"]
    plot = Intervals(columns, rows, "Transfer", "share of the gain that is kept", line=1.0, style="percent")
    return Section("Transfer", [plot, Text(note if rows else "")])


def curve_section(results: Results) -> Section:
    """Return the curves that were measured, and every row's score against its context tokens."""
    blocks: list[Block] = []
    charts: list[PointChart | None] = []
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for name, points in results.get("curves", {}).items():
        kind = KINDS.get(name, name)
        blocks.append(_curve_table(f"Mean over tasks by {kind}", points))
        by_method: dict[str, list[Mapping[str, Any]]] = {}
        for point in points:
            by_method.setdefault(point["method"], []).append(point)
        charts.append(point_chart(f"By {kind}", "mean over tasks", kind, by_method, "at", evenly=True))
        lines = lines or {f"{method}, by {kind}": some for method, some in by_method.items()}
    tasks = results["tasks"]
    only = next(iter(tasks))
    figure = (ALL, PRIMARY) if len(tasks) > 1 else (only, tasks[only]["primary"])
    if len(tasks) > 1 or not lines:  # of one task the curves are in [0, 1], the rows in its metric
        lines |= {row["method"]: [row] for row in results["rows"] if (row["task"], row["metric"]) == figure}
    by_cost = {
        label: sorted(some, key=lambda one: float(one["context_tokens"])) for label, some in lines.items()
    }
    note = "tokens about the user in the prompts"
    charts.append(
        point_chart("Score and context", note, "context tokens per answer", by_cost, "context_tokens")
    )
    return Section("Curves", [*blocks, Charts([chart for chart in charts if chart is not None])])


def user_section(results: Results) -> Section:
    """Return who gains and who loses, for the page; the sentences are among the findings."""
    rows = [
        [
            f"{one['method']} − {one['against']}",
            str(one["users"]),
            str(one["better"]),
            str(one["worse"]),
            ", ".join(f"{worst['user']} {worst['gain']:+.2f}" for worst in one["worst"][:5]),
        ]
        for one in results.get("users", ())
    ]
    columns = ["comparison", "users", "better off", "worse off", "worst off"]
    note = "A user's gain is the mean over their queries; with one or two it is mostly luck. All: users.csv."
    return Section(
        "Who gains, who loses", [Table(columns, rows, on="page"), Text(note if rows else "", on="page")]
    )


def cost_section(results: Results, costs: Mapping[str, Costs]) -> Section:
    """Return cost per answer and what went wrong, by method, over all tasks and seeds."""
    last = {row["method"]: row for row in results["rows"]}  # a method's last row is the one over all tasks
    rows = []
    for method, cost in costs.items():
        row = last.get(method, {})
        kept = row.get("content_kept")
        bounds = "" if kept is None else percent_interval(row["content_kept_low"], row["content_kept_high"])
        problems = (
            *(cost.errors, cost.refused, cost.cut, cost.prompts_cut),
            *(cost.degraded, cost.unparsable, cost.empty_profiles),
        )
        rows.append(
            [
                method,
                "-" if kept is None else percent(kept),
                bounds,
                f"{cost.per_answer('tokens'):.0f}",
                f"{cost.per_answer('seconds'):.2g}",
                f"{cost.per_answer('context_tokens'):.0f}",
                *map(str, (cost.samples, *problems)),
            ]
        )
    columns = ["method", "content\nkept", "95 %\ninterval", "tokens", "seconds", "context\ntokens", "answers"]
    columns += ["no\nanswer", "refused", "cut", "prompt\ncut", "fall-\nback", "unpar-\nsable", "no\nhistory"]
    note = (
        "Content kept: the share of the generic answer's facts that a rewrite keeps, in tasks of free text. "
        "Tokens per answer, over all calls made for it, the base model's included. Seconds per answer; a "
        "cached answer counts the time it took when it was made."
    )
    return Section("Costs", [Table(columns, rows, page_columns=9), Text(note)])


def findings(results: Results) -> Iterator[str]:
    """Yield what the tables do not say: failed conditions, leaks, the wrong-user test, shares, problems."""
    for verdict in results["beats"]:
        if len(results["tasks"]) > 1:  # for one task the verdict column says it all
            pair = f"{verdict['method']} does not beat {verdict['against']}"
            if verdict["failed"]:
                yield f"{pair}: {'; '.join(verdict['failed'])}."
            if below := _worse_tasks(results, verdict["method"], verdict["against"]):
                yield (
                    f"{verdict['method']} against {verdict['against']}: the interval of the difference, "
                    f"without Holm's correction, is below 0 on {', '.join(below)}."
                )
    if "leaks" in results:
        yield from leak_sentences(results["leaks"])
    yield from results.get("warnings", ())
    if alone := sorted({row["task"] for row in results["rows"] if row["users"] == 1 and row["task"] != ALL}):
        yield f"One user says nothing about others: no intervals ({', '.join(alone)})."
    yield from user_sentences(results.get("users", ()), results["users_are"])
    for test in results["wrong_user"]:
        outcome = "holds" if test["holds"] else f"fails: {'; '.join(test['failed'])}"
        gain = test["right_minus_wrong"]
        yield (
            f"wrong-user test of {test['right']} {outcome} "
            f"(right - wrong {number(gain['value'], signed=True)} {interval(gain, signed=True)}"
            f"{_wrong_share(test)})."
        )
    yield from _gap_sentences(results["gap_closed"])
    for method in methods(results):
        if problems := _problems(results, method):
            yield f"{method}: {'; '.join(problems)}."
    yield from results.get("notes", ())


def _wrong_share(test: Mapping[str, Any]) -> str:
    """Return the wrong history's share of the gain, or nothing where there may be no gain."""
    share = test["share"]["value"]
    return "" if share is None else f"; the wrong history's share of the gain: {percent(share)}"


def _gap_sentences(gaps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the share of the gap that each row closes, or that the oracle does not lead."""
    no_gap: set[tuple[str, str]] = set()
    for gap in gaps:
        low, oracle = gap["from"], gap["to"]
        if gap["value"] is not None:
            closed = f"{percent(gap['value'])} {percent_interval(gap['low'], gap['high'])}".strip()
            yield f"{gap['method']} closes {closed} of the gap from {low} to {oracle}."
            continue
        lead, ahead = (gap.get(name, {"value": None, "low": None}) for name in ("lead", "ahead"))
        if lead["low"] is not None and lead["low"] > 0 and ahead["value"] is not None and ahead["value"] < 0:
            behind = f"{number(ahead['value'], signed=True)} {interval(ahead, signed=True)}".strip()
            yield f"{gap['method']}: {oracle} does not lead it ({behind}), so there is no share of a gap."
        elif (low, oracle) not in no_gap:
            no_gap.add((low, oracle))
            by = f"{number(lead['value'], signed=True)} {interval(lead, signed=True)}".strip()
            lead_of_it = f" ({by})" if "lead" in gap else ""
            yield f"{oracle} does not lead {low}{lead_of_it}: no share of a gap is given."


def partial_sentence(partial: Mapping[str, Any]) -> str:
    """Say how much of an evaluation there is, and why no more."""
    return f"PARTIAL: {partial['answers']} of {partial['of']} answers, then: {partial['reason']}."


def verdict_name(results: Results) -> str:
    """Return the name of the verdict column: "gain" where there are too few tasks for "beats"."""
    return "gain" if _few_tasks(results) else "beats"


def verdict_word(results: Results, verdict: Mapping[str, Any]) -> str:
    """Return yes or no; of a gain also "loss", or "-" where it has no interval."""
    if not _few_tasks(results):
        return "yes" if verdict["holds"] else "no"
    low, high = verdict["low"], verdict["high"]
    if low is None:
        return "-"
    return "yes" if low > 0 else "loss" if high < 0 else "no"


def _verdict_note(results: Results) -> str:
    if not results["beats"]:
        return ""
    return _GAIN if _few_tasks(results) else _BEATS


def _score_table(results: Results) -> Table:
    """Method x task with each task's primary metric, the mean over tasks and the context tokens."""
    tasks = list(results["tasks"])
    cells = {(row["method"], row["task"], row["metric"]): row for row in results["rows"]}
    several = len(tasks) > 1
    found = {} if several else results.get("style", {}).get(tasks[0], {})  # of several tasks in its section
    styles = {row["method"]: row["value"] for row in found.get("rows", ())}
    rows = []
    for method in methods(results):
        shown = [cells.get((method, task, results["tasks"][task]["primary"])) for task in tasks]
        mean = cells.get((method, ALL, PRIMARY))
        context = [row["context_tokens"] for row in [*shown, mean] if row]
        means = [number(mean and mean["value"])] if several else []
        style = [number(styles.get(method))] if styles else []
        scores = [number(row and row["value"]) for row in shown]
        rows.append([method, *scores, *style, *means, f"{context[-1]:.0f}"])
    names = [task.replace("_", "\n", 1) for task in tasks]
    more = [*(["style"] if styles else []), *(["mean"] if several else [])]
    return Table(["method", *names, *more, "context\ntokens"], rows)


def _score_plot(results: Results, task: str, zero: str) -> Intervals | None:
    metric = PRIMARY if task == ALL else results["tasks"][task]["primary"]
    rows = [row for row in results["rows"] if (row["task"], row["metric"]) == (task, metric)]
    if not rows:
        return None
    lower = task != ALL and results["tasks"][task]["lower_is_better"]
    return Intervals(
        ["method", "value", "context\ntokens"],
        [
            IntervalRow(
                [row["method"]],
                row["value"],
                row["low"],
                row["high"],
                [f"{row['context_tokens']:.0f}"],
                marked=row["method"] == zero,
            )
            for row in rows
        ],
        title="Mean over tasks" if task == ALL else task,
        note=("each task's metric in 0 to 1" if task == ALL else metric)
        + (", lower is better" if lower else ", higher is better"),
        line=next((row["value"] for row in rows if row["method"] == zero), None),
        on="page",
    )


def _comparisons(results: Results) -> Intervals:
    rows = [
        IntervalRow(
            [verdict["method"], verdict["against"]],
            verdict["difference"],
            verdict["low"],
            verdict["high"],
            [
                f"{len(verdict['tasks_better'])}/{len(verdict['tasks_worse'])}/{len(verdict['p_values_holm'])}",
                verdict_word(results, verdict),
            ],
        )
        for verdict in results["beats"]
    ]
    columns = ["method", "against", "differ-\nence", "better/\nworse/of", verdict_name(results)]
    return Intervals(columns, rows, "Paired differences", "positive is better", line=0.0, style="signed")


def _curve_table(title: str, points: Sequence[Mapping[str, Any]]) -> Table:
    """Method x place with the means over tasks, and their context tokens."""
    places = sorted({point["at"] for point in points})
    cells = {(point["method"], point["at"]): point for point in points}
    rows = []
    for method in dict.fromkeys(point["method"] for point in points):
        some = [cells.get((method, at)) for at in places]
        rows.append([method, *(number(one["value"] if one else None) for one in some)])
        rows.append(["  context tokens", *(f"{one['context_tokens']:.0f}" if one else "-" for one in some)])
    return Table(["method", *(f"{at}\nitems" for at in places)], rows, title)


def _problems(results: Results, method: str) -> list[str]:
    """Count what went wrong; rows that have no history on purpose are not a problem."""
    tasks = results["tasks"]
    rows = [
        row
        for row in results["rows"]
        if row["method"] == method and row["task"] != ALL and row["metric"] == tasks[row["task"]]["primary"]
    ]
    counts = {name: sum(row.get(name, 0) for row in rows) for name in _PROBLEMS}  # old results have fewer
    samples = sum(row["examples"] * row["seeds"] for row in rows)
    if counts["empty_profiles"] == samples:
        del counts["empty_profiles"]
    return [f"{count} of {samples} samples {_PROBLEMS[name]}" for name, count in counts.items() if count]


def _worse_tasks(results: Results, method: str, against: str) -> list[str]:
    """The tasks on which `method` is worse without Holm's correction, which is lenient to losses."""
    return [
        row["task"]
        for row in results["comparisons"]
        if (row["method"], row["against"]) == (method, against)
        and row["metric"] == results["tasks"].get(row["task"], {}).get("primary")
        and row["high"] is not None
        and row["high"] < 0
    ]


def _few_tasks(results: Results) -> bool:
    return len(results["tasks"]) < TASKS_NEEDED
