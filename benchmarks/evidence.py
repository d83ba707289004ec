"""The evidence: RPO, POPI and PILLOW against their controls, in cells that can be run one by one.

    python benchmarks/evidence.py                                              # the studies and their cells
    python benchmarks/evidence.py ratings-gap --data FOLDER                    # missing cells and the table
    python benchmarks/evidence.py ratings-gap --data FOLDER --fold 2 --seed 0  # one cell
    python benchmarks/evidence.py ratings-gap --table                          # the table of finished cells
    python benchmarks/evidence.py --summary                                    # a line for each study

A cell is one study, one fold of its users and one training seed: import, training, evaluation, on one thread.
A stopped cell continues where it was. Its scores go to benchmarks/results/evidence/STUDY/, without texts or
user ids; --again measures a cell that is there once more, and prints both. FOLDER holds the files of the
studies (`_studies.py`). Tables have intervals over users and seeds, from the scores of every query.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from _runs import personakit, train
from _studies import STUDIES, TRAINED, UNTRAINED, WRONG_USER, Study

from personakit.data.lamp_formats import LAMP_TASKS
from personakit.evaluation.leaks import ANSWER, QUERY
from personakit.evaluation.measurements import TaskMetrics, task_metrics
from personakit.evaluation.results import ALL, PRIMARY, RESULTS_FILE, Claims, compute_results
from personakit.evaluation.samples import SAMPLES_FILE, Sample, append_batch, read_samples
from personakit.files import write_text
from personakit.suites.run import LEAKS_FILE
from personakit.tasks import get_task
from personakit.tasks.style import STYLE

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "evidence"
#: Facts of a run that a cell keeps: what trained on what, for how long.
RUN_FACTS = ("versions", "git_commit", "data_fingerprint", "device", "dtype", "seconds")
#: Means over a row's answers that a cell keeps, and counts of answers.
COSTS, MISHAPS = ("tokens", "context_tokens"), ("error", "refused", "unparsable", "degraded", "cut")

#: Pages that show the summary, as the table that begins with SUMMARY_HEAD.
SUMMARY_PAGES = ROOT / "README.md", ROOT / "docs" / "evidence.md"
SUMMARY_HEAD = f"| data | metric | on | seeds | method | {UNTRAINED} | {TRAINED} | {WRONG_USER} |\n"
#: Further metrics that a table shows after the primary one, where they are measured.
MORE = (STYLE, "likelihood", "bits")


def main() -> None:
    """List the studies, run cells, or write a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("study", nargs="?", choices=STUDIES)
    parser.add_argument("--data", type=Path, default=Path(), help="the folder of the studies' files")
    parser.add_argument("--fold", type=int, help="only this fold, from 1")
    parser.add_argument("--seed", type=int, help="only this seed")
    parser.add_argument("--seeds", type=int, default=3, help="this many seeds")
    parser.add_argument("--work", type=Path, default=Path("runs/evidence"), help="for runs and evaluations")
    parser.add_argument("--again", action="store_true", help="measure cells that have results, and compare")
    parser.add_argument("--table", action="store_true", help="only write the table")
    parser.add_argument("--summary", action="store_true", help="write one line for each study")
    options = parser.parse_args()
    if options.summary:
        lines = summary()
        for page in SUMMARY_PAGES:
            write_text(page, with_summary(page, lines))
        print(lines)
        return
    if options.study is None:
        for name, study in STUDIES.items():
            print(f"{name}: {len(cells_of(name))} of {study.folds * options.seeds} cells; {study.about}")
        return
    study, folder = STUDIES[options.study], RESULTS / options.study
    seeds = range(options.seeds) if options.seed is None else [options.seed]
    folds = range(1, study.folds + 1) if options.fold is None else [options.fold]
    if options.fold is not None and not 1 <= options.fold <= study.folds:
        parser.error(f"--fold {options.fold}: {options.study} has the folds 1 to {study.folds}")
    work = options.work / ("again" if options.again else "") / options.study
    for seed, fold in ((seed, fold) for seed in seeds for fold in folds if not options.table):
        path = folder / f"fold-{fold}-seed-{seed}.json"
        if options.again or not path.exists():
            cell = run_cell(study, fold, seed, options.data, work)
            if path.exists():
                compare(json.loads(path.read_text(encoding="utf-8")), cell)
                shutil.rmtree(work / f"fold-{fold}-seed-{seed}")  # else the next time would find it finished
            else:
                write_text(path, json.dumps(cell) + "\n")
                print(f"{path}: {cell['minutes']} minutes")
    text = table(options.study)
    write_text(folder.with_suffix(".md"), text)
    print(text)


def cells_of(name: str) -> list[dict[str, Any]]:
    """Return the finished cells of a study."""
    return [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted((RESULTS / name).glob("fold-*.json"))
    ]


def run_cell(study: Study, fold: int, seed: int, files: Path, work: Path) -> dict[str, Any]:
    """Import, train, evaluate; return the cell. `work` holds what a stopped cell has done."""
    begun = time.monotonic()
    data = Path("lamp-mini") if study.source is None else work / f"data-{fold}"
    if study.source is not None and not data.exists():
        folds = ("--fold", f"{fold}/{study.folds}") if study.folds > 1 else ()
        personakit("data", "import", str(files / study.source), str(data), *study.imports, *folds)
    folder = work / f"fold-{fold}-seed-{seed}"
    settings = ["--config", study.config, f"data.path={data}", *study.settings, f"seed={seed}"]
    run = folder / "run"
    train(study.method, run, settings)
    personakit(
        *("eval", study.suite, "--run", str(run), "--data", str(data), "--split", "test"),
        *(part for row in study.rows_of(seed) for part in ("--baseline", row)),
        *(() if study.limit is None else ("--limit", str(study.limit))),
        *(*study.evaluation, "--output", str(folder / "eval")),
        *(("--resume",) if (folder / "eval" / SAMPLES_FILE).exists() else ()),
    )
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return {
        "fold": fold,
        "seed": seed,
        "settings": study.recipe,
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "run": {name: facts.get(name) for name in RUN_FACTS},
        **without_texts(folder / "eval", fold),
    }


def without_texts(evaluation: Path, fold: int) -> dict[str, Any]:
    """Return the claims of an evaluation, its queries, and every score of every row.

    Queries that are answered in the user's own history are left out: that is no prediction.
    """
    results = json.loads((evaluation / RESULTS_FILE).read_text(encoding="utf-8"))
    listed = evaluation / LEAKS_FILE  # there is none without leaks
    found = map(json.loads, listed.read_text(encoding="utf-8").splitlines() if listed.exists() else ())
    leaks = {(leak["task"], leak["query_id"]) for leak in found if leak["kind"] in (ANSWER, QUERY)}
    queries: dict[tuple[str, str], tuple[str, str, str]] = {}
    answers: dict[str, list[Sample]] = defaultdict(list)
    users: dict[str, str] = {}
    for sample in read_samples(evaluation / SAMPLES_FILE):
        if (sample.task, sample.query_id) in leaks:
            continue
        user = users.setdefault(sample.user_id, f"{fold}.{len(users)}")
        queries.setdefault((sample.task, sample.query_id), (sample.task, user, f"{fold}.{len(queries)}"))
        answers[sample.method].append(sample)
    rows = {}
    for method, samples in answers.items():
        scores = {(each.task, each.query_id): each.scores or {} for each in samples}
        mishaps = {kind: sum(bool(getattr(each, kind)) for each in samples) for kind in MISHAPS}
        rows[method] = {
            "seed": samples[0].seed,
            **{cost: round(sum(getattr(each, cost) for each in samples) / len(samples), 1) for cost in COSTS},
            **{kind: count for kind, count in mishaps.items() if count},
            "scores": {
                metric: [rounded(scores.get(query, {}).get(metric)) for query in queries]
                for metric in sorted({metric for some in scores.values() for metric in some})
            },
        }
    return {
        "tasks": results["tasks"],
        "users_are": results["users_are"],
        "compared": sorted({(each["method"], each["against"]) for each in results["comparisons"]}),
        "wrong_user": [[each[key] for key in ("right", "wrong", "empty")] for each in results["wrong_user"]],
        "gaps": [[each[key] for key in ("method", "from", "to")] for each in results["gap_closed"]],
        "leaks": len(leaks),
        "queries": list(queries.values()),
        "rows": rows,
    }


def rounded(score: float | None) -> float | None:
    """Six digits are enough."""
    return None if score is None else round(score, 6)


def compare(known: dict[str, Any], again: dict[str, Any]) -> None:
    """Print the mean scores of two measurements of a cell."""
    for method, row in again["rows"].items():
        for metric, scores in row["scores"].items():
            before = known["rows"].get(method, {}).get("scores", {}).get(metric, [])
            known_ones = ([score for score in some if score is not None] for some in (before, scores))
            means = [sum(some) / max(1, len(some)) for some in known_ones]
            print(f"{method}, {metric}: {means[0]:.4f} in the results, {means[1]:.4f} again")


def table(name: str) -> str:
    """Return the table of a study as Markdown."""
    cells = measured_cells(name)
    if not cells:
        return f"# {name}\n\nNo cell is finished yet.\n"
    return rendered(name, cells, results_of(cells))


def measured_cells(name: str) -> list[dict[str, Any]]:
    """Return the cells of the seeds that have all folds; until one has, those of the seed with most folds."""
    folds: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for cell in cells_of(name):
        folds[cell["seed"]].append(cell)
    complete = [cells for cells in folds.values() if len(cells) == STUDIES[name].folds]
    taken = complete or [max(folds.values(), key=len)] if folds else []
    cells = [cell for some in taken for cell in some]
    known = json.loads(json.dumps(STUDIES[name].recipe))
    if stale := [f"fold-{cell['fold']}-seed-{cell['seed']}" for cell in cells if cell["settings"] != known]:
        raise SystemExit(f"{name}: {', '.join(stale)} had other settings: delete the files and measure again")
    queries = {cell["fold"]: cell["queries"] for cell in cells}
    if other := [f"fold-{cell['fold']}" for cell in cells if cell["queries"] != queries[cell["fold"]]]:
        raise SystemExit(f"{name}: {', '.join(other)} has other queries with another seed")
    return cells


def results_of(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return rows and comparisons of cells, with intervals, as `compute_results` does."""
    samples = list(samples_of(cells))
    metrics: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        metrics[sample.task] |= set(sample.scores or ())
    facts = {task: metrics_of(task, about, metrics[task]) for task, about in cells[0]["tasks"].items()}
    compared, wrong_user, gaps = (
        list(dict.fromkeys(tuple(labels) for cell in cells for labels in cell[kind]))
        for kind in ("compared", "wrong_user", "gaps")
    )
    compared += [(right, other) for right, *controls in wrong_user for other in controls]
    claims = Claims(compared=list(dict.fromkeys(compared)), wrong_user=wrong_user, gaps=gaps)
    with tempfile.TemporaryDirectory() as folder:
        append_batch(Path(folder) / SAMPLES_FILE, samples)
        return compute_results(Path(folder) / SAMPLES_FILE, facts, claims, users_are=cells[0]["users_are"])


def summary() -> str:
    """Return a table with a line for each study: the method, its difference to the best row of each kind.

    A study that does not name its data is left out. `@` stands for the folder of the results.
    """
    columns = (UNTRAINED, TRAINED, WRONG_USER)
    lines = [SUMMARY_HEAD, f"|{'---|' * (5 + len(columns))}\n"]
    for name, study in STUDIES.items():
        cells = measured_cells(name) if study.data else []
        if not cells:
            continue
        results = results_of(cells)
        [task, metric] = (
            (ALL, PRIMARY)
            if len(results["tasks"]) > 1
            else next((task, about["primary"]) for task, about in results["tasks"].items())
        )
        for row in results["rows"]:
            if (row["method"], row["task"]) == (study.label, task) and row["metric"] in (metric, *MORE):
                nearest = (closest(results, study, column, task, row["metric"]) for column in columns)
                seeds = len({cell["seed"] for cell in cells})
                lines.append(
                    f"| [{study.data}](@/{name}.md) | {row['metric']} "
                    f"| {row['users']} {results['users_are']} | {seeds} "
                    f"| {study.label} {row['value']:.3f} | {' | '.join(nearest)} |\n"
                )
    return "".join(lines)


def with_summary(page: Path, lines: str) -> str:
    """Return a page with a new summary."""
    folder = Path(os.path.relpath(RESULTS, page.parent)).as_posix()
    before, _, after = page.read_text(encoding="utf-8").partition(SUMMARY_HEAD)
    return before + lines.replace("@", folder) + re.sub(r"\A(\|.*\n)*", "", after)


def closest(results: dict[str, Any], study: Study, column: str, task: str, metric: str) -> str:
    """Return the smallest difference of the method to the rows of a column, with the row's name."""
    found = [
        each
        for each in results["comparisons"]
        if (each["method"], each["task"], each["metric"]) == (study.label, task, metric)
        and each["against"] in study.opponents[column]
    ]
    if not found:
        return ""
    least = min(found, key=lambda each: float(each["difference"]))
    shown = interval(least, "difference", sign="+")
    return f"{least['against']}: {f'**{shown}**' if (least['low'] or 0) > 0 else shown}"


def samples_of(cells: Sequence[dict[str, Any]]) -> Iterator[Sample]:
    """Yield the answers of cells. Rows without training are the same for all seeds, and taken once."""
    first = min(cell["seed"] for cell in cells)
    for cell in cells:
        for method, row in cell["rows"].items():
            if row["seed"] is None and cell["seed"] != first:
                continue
            for place, (task, user, query) in enumerate(cell["queries"]):
                scores = {metric: values[place] for metric, values in row["scores"].items()}
                yield Sample(
                    method=method,
                    seed=row["seed"],
                    task=task,
                    query_id=query,
                    user_id=user,
                    profile_of=None,
                    profile_items=0,
                    query="",
                    gold="",
                    generic=None,
                    prediction="",
                    scores={metric: score for metric, score in scores.items() if score is not None} or None,
                    utility=None,
                    context={},
                    **{cost: row[cost] for cost in COSTS},
                )


def metrics_of(task: str, about: dict[str, Any], measured: set[str]) -> TaskMetrics:
    """Return how a task is scored. Macro-F1 is left out: it needs the answers, which cells do not keep."""
    if task in LAMP_TASKS:
        known = task_metrics(get_task(task))
        metrics = tuple(metric for metric in known.metrics if metric != "f1")
        return TaskMetrics(metrics, known.lower_is_better, offset=known.offset, slope=known.slope)
    others = sorted(measured - {about["primary"]})
    return TaskMetrics((about["primary"], *others), about["lower_is_better"])


def rendered(name: str, cells: Sequence[dict[str, Any]], results: dict[str, Any]) -> str:
    """Return results as Markdown."""
    study = STUDIES[name]
    parts = [f"# {name}\n\n{study.about}\n"]
    measured = {(row["task"], row["metric"]) for row in results["rows"]}
    shown = [(task, about["primary"]) for task, about in results["tasks"].items()]
    more = [(task, metric) for task in results["tasks"] for metric in MORE if (task, metric) in measured]
    for task, metric in [*shown, *more, *([(ALL, PRIMARY)] if len(shown) > 1 else [])]:
        rows = [row for row in results["rows"] if (row["task"], row["metric"]) == (task, metric)]
        differences = {
            each["against"]: each
            for each in results["comparisons"]
            if (each["method"], each["task"], each["metric"]) == (study.label, task, metric)
        }
        title = "Mean over the tasks" if task == ALL else f"{task}: {metric}"
        parts += [
            f"\n## {title}\n\n| row | context tokens | score | {study.label} - row |\n|---|---|---|---|\n"
        ]
        for row in rows:
            difference = differences.get(row["method"])
            parts.append(
                f"| {row['method']} | {row['context_tokens']:.0f} | {interval(row, 'value')} | "
                f"{'' if difference is None else interval(difference, 'difference', sign='+')} |\n"
            )
        parts.append(f"\n{rows[0]['users']} {results['users_are']}, {rows[0]['examples']} queries.\n")
        parts += [
            f"\n{each['method']} - {each['against']}: {interval(each, 'difference', sign='+')}.\n"
            for each in results["comparisons"]
            if (each["task"], each["metric"]) == (task, metric) and each["method"] != study.label
        ]
    for each in results["wrong_user"]:
        own, foreign = (
            interval(each[key], "value", sign="+") for key in ("right_minus_wrong", "wrong_minus_empty")
        )
        parts.append(
            f"\nWrong-user test of {each['right']}: {'holds' if each['holds'] else 'does not hold'}. "
            f"Own minus another's history {own}, another's minus empty {foreign}.\n"
        )
    parts += [
        f"\n{each['method']} closes {each['value']:.0%} of the gap from {each['from']} to {each['to']}.\n"
        for each in results["gap_closed"]
        if each["value"] is not None
    ]
    for kind in MISHAPS:
        counts: Counter[str] = Counter()
        for cell in cells:
            counts.update({method: row.get(kind, 0) for method, row in cell["rows"].items()})
        found = ", ".join(f"{method} {count}" for method, count in counts.items() if count)
        parts += [f"\nAnswers marked {kind}: {found}.\n"] if found else []
    leaks = sum({cell["fold"]: cell.get("leaks", 0) for cell in cells}.values())
    if leaks:
        parts.append(
            f"\nLeft out: {leaks} queries that are answered in the user's history (near-duplicates).\n"
        )
    folds = len({cell["fold"] for cell in cells})
    if folds < study.folds:
        parts.append(f"\nOnly {folds} of {study.folds} folds are finished.\n")
    if study.folds > 1:
        parts.append("\nFolds share training users; the intervals are over test users and training seeds.\n")
    minutes = [cell["minutes"] for cell in cells]
    seeds = ", ".join(map(str, sorted({cell["seed"] for cell in cells})))
    parts.append(
        f"\nTraining seeds: {seeds}. {len(cells)} cells of {min(minutes):.0f} to {max(minutes):.0f} minutes "
        f"on one thread: `python benchmarks/evidence.py {name}`.\n"
    )
    return "".join(parts)


def interval(found: dict[str, Any], key: str, *, sign: str = "") -> str:
    """Return a figure with its interval."""
    value, low, high = (
        "?" if found[each] is None else format(found[each], f"{sign}.3f") for each in (key, "low", "high")
    )
    return f"{value} [{low}, {high}]"


if __name__ == "__main__":
    main()
