"""What `personakit eval` does: data and rows, answers into the sample log, results, files, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.cli.errors import resumable
from personakit.cli.evaluation_folder import (
    again,
    begin,
    folder_for,
    tell_failed,
    told,
    write_evaluation_page,
)
from personakit.cli.options import spread
from personakit.cli.output import Result, harmless, note
from personakit.errors import RunError, UserError
from personakit.methods import METHODS

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.cli.comparison import Examples
    from personakit.cli.eval_options import Request
    from personakit.data.store import ExampleStore
    from personakit.methods import FinishedRun, Surroundings


def evaluate_request(request: Request) -> Result:
    """Run one evaluation from its options to its report."""
    from personakit.cli.beside import check_curves, measure_curves, published, warnings
    from personakit.cli.checking import look_for_leaks
    from personakit.cli.comparison import choose_rows, make_comparison
    from personakit.cli.estimate import estimate_evaluation, planned_evaluation, tell_cost
    from personakit.data.folders import data_folder
    from personakit.data.lamp_mini import is_lamp_mini, known_facts
    from personakit.evaluation.content import entities_and_numbers
    from personakit.evaluation.costs import seconds_of
    from personakit.evaluation.measurements import facts_of
    from personakit.evaluation.report import REPORT_FILE
    from personakit.evaluation.results import compute_results, write_results
    from personakit.evaluation.runner import check_candidates, evaluate, write_prediction_files
    from personakit.evaluation.samples import SAMPLES_FILE, count_answers
    from personakit.evaluation.table import print_results
    from personakit.evaluation.users import USERS_FILE, user_gains, users_document, write_users
    from personakit.models.open import is_endpoint
    from personakit.tasks import get_task

    check_curves(request.curves)
    # First: a refused call must not load models, or count as a look at test.
    folder = folder_for(request.suite, request.split, request.output, resume=request.resume)
    runs = _runs(request)
    first = [run for run in runs if run.method == min((one.method for one in runs), key=list(METHODS).index)]
    beside = [run for run in runs if run not in first]
    data = request.data or (runs[0].settings.data.path if runs else "lamp-mini")
    examples = _examples(request, data)
    around = _surroundings(request, first, data, examples)
    rows_published = published(request.published, data, examples)
    leaks = look_for_leaks(data, runs, examples, strict=request.strict)
    rows = choose_rows(request.rows or None, first, examples, around)
    unseen = _unseen(request, first, around)
    if request.dry_run:
        queries = {task: len(store) for task, store in examples.items()}
        plan = {"rows": rows, "queries": queries, "base": around.base, "unseen_bases": unseen}
        return planned_evaluation(plan, estimate_evaluation(rows, first, around, examples, unseen))
    comparison = make_comparison(rows, first, around, unseen, beside)
    made_by = _made_by(request, data, runs, around, unseen, examples)
    check_candidates(comparison.candidates, examples)
    if any(map(is_endpoint, [around.base, *unseen])):
        tell_cost(
            estimate_evaluation(rows, first, around, examples, unseen),
            at_once=around.settings.endpoint.requests_at_once,
        )
    looks = begin(folder, made_by, tasks=list(examples), methods=comparison.labels)
    tasks = {task: get_task(task) for task in examples}
    find_facts = known_facts if is_lamp_mini(data_folder(data)) else entities_and_numbers
    facts = {task: facts_of(each, find_facts) for task, each in tasks.items()}
    claims = comparison.claims()

    def conclude(log: Path, **beside: Any) -> dict[str, Any]:
        """Compute the results of what is in the log, and write everything that is made of them."""
        grouped = any(store.made_user_ids for store in examples.values())
        gains = user_gains(log, [pair for pair in claims.compared if pair[1] != pair[0]])
        results = compute_results(log, facts, claims, made_by=made_by, grouped=grouped, seed=request.seed)
        results |= {"leaks": leaks.write(folder), "warnings": warnings(examples, tasks)}
        results |= {"users": users_document(gains)} | beside
        if rows_published:
            results["published_lamp"] = rows_published
        write_results(folder, results)
        write_users(folder / USERS_FILE, gains)
        write_prediction_files(log, folder / "predictions")
        write_page(folder, results, runs={str(run.folder): run.folder for run in runs}, looks=looks)
        note(f"report: {folder / REPORT_FILE}")
        return results

    total = len(comparison.candidates) * sum(map(len, examples.values()))
    try:
        with resumable(again(folder)), told() as progress:
            log = evaluate(
                comparison.candidates,
                examples,
                tasks,
                folder,
                seed=request.seed,
                resume=request.resume,
                progress=progress,
            )
        curves = measure_curves(
            request.curves,
            comparison,
            first,
            around,
            examples,
            tasks,
            facts,
            folder,
            seed=request.seed,
        )
    except RunError as error:
        if answered := count_answers(folder):
            conclude(
                folder / SAMPLES_FILE,
                partial={"answers": answered, "of": total, "reason": error.message},
            )
            note(f"partial results: {answered} of {total} answers in {folder}")
        raise
    results = conclude(log, **({"curves": curves} if curves else {}))
    tell_failed(total - count_answers(folder), folder)
    seconds = seconds_of(log)

    def show(out: Console) -> None:
        print_results(results, out, seconds=seconds)
        out.print(harmless(str(folder)))

    return Result({**results, "seconds_per_answer": seconds, "folder": str(folder)}, show)


def write_page(folder: Path, results: dict[str, Any], *, runs: dict[str, Path], looks: int) -> Path:
    """Write the report of an evaluation's folder."""
    from personakit.cli.comparison import EMPTY, GENERIC, MAJORITY, METHOD, ORACLE, OTHER
    from personakit.evaluation.table import methods

    hidden = {GENERIC, MAJORITY, ORACLE}
    controls = (EMPTY.removeprefix(METHOD), OTHER.removeprefix(METHOD))
    hidden |= {label for label in methods(results) if label.endswith(controls)}
    hidden |= {one["generic"] for one in results.get("transfer", ())}
    shown = [label for label in methods(results) if label not in hidden]
    baseline = results["made_by"].get("zero", GENERIC)
    return write_evaluation_page(
        folder, results, baseline=baseline, shown=shown or None, runs=runs, looks=looks
    )


def _runs(request: Request) -> list[FinishedRun]:
    from personakit.methods import newest_run, read_run

    if request.no_run:
        if request.runs:
            raise UserError(f"--no-run and --run {request.runs[0]} were both given", hint="leave one out")
        return []
    runs = [read_run(folder) for folder in request.runs or [newest_run()]]
    return [replace(run, settings=_asked_at_once(run.settings, request)) for run in runs]


def _asked_at_once(settings: Any, request: Request) -> Any:
    """Return the settings with as many requests to an endpoint at once as was asked for."""
    if request.concurrency is None or not hasattr(settings, "endpoint"):
        return settings
    return replace(settings, endpoint=replace(settings.endpoint, requests_at_once=request.concurrency))


def _examples(request: Request, data: str) -> Examples:
    """The examples of each task, at most `limit` of each, spread over the split so that many users are in."""
    from personakit.data import available, open_examples

    there = [task for task, split in available(data) if split == request.split]
    if request.suite == "lamp":
        there = [task for task in there if task.startswith("LaMP")]
    elif request.suite not in there:
        raise UserError(
            f'{data} has no people\'s rewrites of texts with the split "{request.split}"',
            hint="name a folder of them with --data; `personakit data import` makes one of a table of "
            "originals and rewrites",
        )
    wanted = request.tasks or there
    if not wanted:
        found = sorted({split for _, split in available(data)})
        raise UserError(
            f'{data} has no LaMP task with the split "{request.split}"',
            hint=f"it has the splits {', '.join(found)}; rewrites are for `personakit eval rewriting`",
        )
    stores = [open_examples(data, task, request.split) for task in wanted]
    if request.sample_ids:
        return _chosen(stores, request.sample_ids)
    return {store.task: spread(store, request.limit) for store in stores}


def _chosen(stores: Sequence[ExampleStore], ids: Sequence[str]) -> Examples:
    """The examples whose queries have these ids, of the tasks that have any."""
    places = [[place for place, id in enumerate(store.query_ids) if id in set(ids)] for store in stores]
    missing = set(ids) - {id for store in stores for id in store.query_ids}
    if missing:
        raise UserError(
            f"--sample-id {min(missing)}: no query of {', '.join(store.task for store in stores)} has it",
            hint="the ids stand in the questions file, and in an evaluation's samples.jsonl",
        )
    return {store.task: store.subset(some) for store, some in zip(stores, places, strict=True) if some}


def _surroundings(request: Request, runs: list[FinishedRun], data: str, examples: Examples) -> Surroundings:
    from personakit.cli.comparison import oracle_answers, train_golds
    from personakit.config import TrainRPO
    from personakit.methods import Surroundings, settings_of_baselines

    settings = settings_of_baselines(runs[0]) if runs else _asked_at_once(TrainRPO(), request)
    return Surroundings(
        settings=settings,
        base=settings.base if runs else _base_of_baselines(request, settings.base),
        train_golds=train_golds(data, list(examples)),
        oracle=oracle_answers(examples),
    )


def _base_of_baselines(request: Request, otherwise: str) -> str:
    if len(request.bases) > 1:
        raise UserError(
            f"--no-run with --base {' and --base '.join(request.bases)}: expected one base",
            hint="evaluate each by itself, or name a --run to put it before all of them",
        )
    return request.bases[0] if request.bases else otherwise


def _unseen(request: Request, runs: list[FinishedRun], around: Surroundings) -> list[str]:
    """The bases asked for that the rewriter was not trained on, each once."""
    return [base for base in dict.fromkeys(request.bases) if base != around.base] if runs else []


def _made_by(
    request: Request,
    data: str,
    runs: list[FinishedRun],
    around: Surroundings,
    unseen: list[str],
    examples: Examples,
) -> dict[str, Any]:
    """What the results rest on; no times, so that a resumed evaluation ends with the same file."""
    from personakit import __version__
    from personakit.models.open import endpoint_addresses

    addresses = endpoint_addresses([around.base, *unseen])
    return {
        "personakit": __version__,
        "suite": request.suite,
        "split": request.split,
        "limit": request.limit,
        **({"sample_ids": list(request.sample_ids)} if request.sample_ids else {}),
        "seed": request.seed,
        "base": around.base,
        "unseen_bases": unseen,
        **({"endpoints": addresses} if addresses else {}),
        "runs": [str(run.folder) for run in runs],
        "data": data,
        "fingerprints": {task: store.fingerprint for task, store in examples.items()},
    }
