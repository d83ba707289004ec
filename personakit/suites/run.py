"""The one pipeline of all suites: folder, runs, data, rows, leaks, passes, results, page.

A stopped evaluation resumes to the same bytes. A failed request is logged without a score and tried again
on `resume`; where a server is gone, the results of what was answered are written and marked as partial.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from personakit import __version__
from personakit.errors import RunError, UserError
from personakit.evaluation.candidates import Candidate
from personakit.evaluation.curve_points import Point, curve_document
from personakit.evaluation.leaks import Leak, leak_sentences, leaks_document
from personakit.evaluation.measurements import read_costs
from personakit.evaluation.results import compute_results, write_results
from personakit.evaluation.runner import check_candidates, write_prediction_files
from personakit.evaluation.samples import SAMPLES_FILE, count_answers, read_samples
from personakit.evaluation.sections import Section, Table, Text
from personakit.evaluation.users import USERS_FILE, user_gains, users_document, write_users
from personakit.files import write_text
from personakit.models.cost import PRICES
from personakit.steps import step
from personakit.suites import SUITES
from personakit.suites.base import Options, Row, Suite, World, choose_rows
from personakit.suites.folder import begin, folder_for, write_page
from personakit.suites.passes import PassRunner, trained_on
from personakit.training.progress import Progress

LEAKS_FILE = "leaks.jsonl"
CURVES_FOLDER = "curves"
#: Assumed for estimates; the progress bar is exact once some requests are answered.
SECONDS_PER_REQUEST = 2.0


def _ignore(_: Any) -> None:
    return


@dataclass(frozen=True)
class Reporting:
    """Where an evaluation reports while it runs: sentences, sections (costs before requests), progress."""

    note: Callable[[str], None] = _ignore
    show: Callable[[Sequence[Section]], None] = _ignore
    progress: Progress | None = None


@dataclass(frozen=True)
class Outcome:
    """The results document of an evaluation, its sections, and its folder (None after a dry run)."""

    results: dict[str, Any]
    sections: Sequence[Section]
    folder: Path | None


def run(
    name: str,
    options: Options,
    reporting: Reporting = Reporting(),
    *,
    command: str = "",
    resume_with: str = "",
) -> Outcome:
    """Run the suite called `name` from its options to its report.

    `command` is recorded as what the evaluation was started with; `resume_with` is the command that
    continues it, for messages. Raises `UserError` for what cannot be evaluated, before anything is written,
    and `RunError` where a server is gone.
    """
    suite = SUITES[name]
    folder = folder_for(name, options.split, options.output, resume=options.resume)
    with step("reading the data"):
        world = suite.load(options, reporting.note)
    rows = choose_rows(suite, world, options.baselines, reporting.note)
    check_curves(suite, options.curves, rows)
    with step("checking for leaks"):
        leaks, unknown = _check_leaks(suite, world, options, reporting.note)
    suite.check_rows(world, rows)
    candidates = _candidates(suite, world, rows)
    labels = list(dict.fromkeys(candidate.method for candidate in candidates))
    if options.dry_run:
        return _plan(suite, world, rows, labels, reporting)

    check_candidates(candidates, world.examples)
    requests = suite.requests(world, rows)
    if any(each.requests for each in requests):
        reporting.show([request_section(requests, at_once=world.requests_at_once)])
    made_by = _made_by(suite, world, rows)
    begin(folder, made_by, command=command, tasks=list(world.examples), methods=labels)
    passes = PassRunner(folder, options.seed, reporting.progress)
    claims = suite.claims(world, labels)
    total = len(candidates) * sum(map(len, world.examples.values()))

    def conclude(log: Path, further: Mapping[str, Any]) -> Outcome:
        with step("computing the results"):
            results = compute_results(
                log, world.facts, claims, made_by=made_by, users_are=world.users_are, seed=options.seed
            )
        results |= {
            "leaks": _write_leaks(folder, leaks, unknown),
            "warnings": suite.warnings(world),
            **suite.known(world, rows),
            **further,
        }
        if notes := suite.notes(results):
            results["notes"] = notes
        _write(folder, results, [pair for pair in claims.compared if pair[0] != pair[1]])
        if suite.predictions:
            write_prediction_files(folder / SAMPLES_FILE, folder / "predictions")
        reporting.note(f"report: {write_page(folder, results)}")
        return Outcome(results, suite.sections(results, read_costs(folder / SAMPLES_FILE)), folder)

    log, further = folder / SAMPLES_FILE, dict[str, Any]()
    try:
        passes(candidates, world.examples, suite.answering(world), SAMPLES_FILE, resume=options.resume)
        log = suite.further(world, rows, passes, log, further)
        _add_curves(suite, world, rows, passes, further)
    except RunError as error:
        if answered := count_answers(folder / SAMPLES_FILE):
            partial = {"answers": answered, "of": total, "reason": error.message}
            conclude(log, further | {"partial": partial})
            reporting.note(f"partial results: {answered} of {total} answers in {folder}")
        raise
    if passes.failed and not count_answers(folder / SAMPLES_FILE):
        reason = next(sample.error for sample in read_samples(folder / SAMPLES_FILE))
        raise RunError(
            f"none of {total} requests has an answer: {reason}",
            hint=f"then try them again: {resume_with or f'--resume --output {folder}'}",
        )
    outcome = conclude(log, further | ({"failed": passes.failed} if passes.failed else {}))
    if passes.failed:
        again = resume_with or f"--resume --output {folder}"
        reporting.note(f"{passes.failed} requests failed and have no answer; this tries them again: {again}")
    return outcome


def check_curves(suite: Suite, kinds: Sequence[str], rows: Sequence[Row]) -> None:
    """Raise `UserError` for a curve that the suite does not have, or none of the rows."""
    for kind in kinds:
        if kind not in suite.curve_places:
            raise UserError(f'unknown --curve "{kind}"', hint=f"there is {', '.join(suite.curve_places)}")
        if not any(kind in row.curves for row in rows):
            raise UserError(
                f"--curve {kind}: no row of this evaluation depends on it",
                hint="evaluate a run, or add a baseline that reads the history",
            )


def request_section(estimates: Sequence[Any], *, at_once: int | None = None) -> Section:
    """Return a table of requests to models behind an API (`models.cost`); with the time for `at_once`."""
    rows = [
        [
            *(each.model, each.purpose),
            *map(str, (each.requests, each.known, each.prompt_tokens, each.completion_tokens)),
            "?" if each.money is None else f"{each.money:.2f}",
        ]
        for each in estimates
    ]
    prices = [each.money for each in estimates if each.money is not None]
    if not estimates:
        note = "No request to an API: every model is on this machine."
    elif len(prices) == len(estimates):
        note = f"At most {sum(prices):.2f} in all, by the prices in {PRICES}."
    else:
        note = f'No price for "?": set {PRICES} to MODEL=INPUT/OUTPUT,... per million tokens.'
    if at_once is not None:
        minutes = sum(each.requests for each in estimates) * SECONDS_PER_REQUEST / at_once / 60
        note += f" About {max(1, round(minutes))} min at {at_once} requests at once."
    columns = ["model", "for", "requests", "cached", "prompt\ntokens", "answer tokens,\nat most", "price"]
    table = Table(columns, rows, text_columns=2)
    return Section("Requests", [table, Text(note)])


def _candidates(suite: Suite, world: World, rows: Sequence[Row]) -> list[Candidate]:
    found = [candidate for row in rows for candidate in row.candidates(world)]
    if suite.by_run:
        order = list(dict.fromkeys(candidate.run for candidate in found))
        found.sort(key=lambda candidate: order.index(candidate.run))
    return found


def _add_curves(
    suite: Suite, world: World, rows: Sequence[Row], passes: PassRunner, results: dict[str, Any]
) -> None:
    """Measure the curves that were asked for; every place of a curve is a pass of its own."""
    for kind in dict.fromkeys(world.options.curves):
        points, candidates = [], []
        for row in rows:
            for place in suite.curve_places[kind] if kind in row.curves else ():
                point = Point(row.label, place)
                moved = replace(suite.at(world, row, kind, place), label=point.label)
                points.append(point)
                candidates += moved.candidates(world)
        file = f"{CURVES_FOLDER}/{kind}/samples.jsonl"
        log = passes(candidates, world.examples, suite.answering(world), file)
        curve = curve_document(log, points, world.facts, seed=world.options.seed)
        results.setdefault("curves", {})[kind] = curve


def _check_leaks(
    suite: Suite, world: World, options: Options, note: Callable[[str], None]
) -> tuple[list[Leak], list[str]]:
    """Return the leaks and the runs whose training queries are unknown; reports them first.

    Raises `UserError` where there is a leak and `--strict` was given.
    """
    leaks = suite.leaks(world)
    unknown = [str(run.folder) for run in world.runs if trained_on([run])[1]]
    sentences = list(leak_sentences(leaks_document(leaks, unknown)))
    for sentence in sentences:
        note(sentence)
    if leaks and options.strict:
        queries = len({(leak.task, leak.query_id) for leak in leaks})
        raise UserError(
            f"--strict: {queries} queries leak; {sentences[0]}",
            hint="take them out of the data, or evaluate without --strict, which counts and lists them",
        )
    return leaks, unknown


def _write_leaks(folder: Path, leaks: Sequence[Leak], unknown: Sequence[str]) -> dict[str, Any]:
    """List all leaks in the folder, and return what the results say about them."""
    from dataclasses import asdict

    import orjson

    if leaks:
        lines = [orjson.dumps(asdict(leak), option=orjson.OPT_APPEND_NEWLINE).decode() for leak in leaks]
        write_text(folder / LEAKS_FILE, "".join(lines))
    return leaks_document(leaks, unknown)


def _write(folder: Path, results: dict[str, Any], compared: Sequence[tuple[str, str]]) -> None:
    """Write `results.json` and `users.csv`; adds the gain of each user to the results."""
    gains = user_gains(folder / SAMPLES_FILE, compared)
    results["users"] = users_document(gains)
    write_results(folder, results)
    write_users(folder / USERS_FILE, gains)


def _made_by(suite: Suite, world: World, rows: Sequence[Row]) -> dict[str, Any]:
    """What the results depend on; no times, so that a resumed evaluation ends with the same file."""
    options = world.options
    return {
        "personakit": __version__,
        "suite": suite.name,
        "split": options.split,
        "limit": options.limit,
        "sample_ids": list(options.sample_ids),
        "seed": options.seed,
        "base": world.base,
        "unseen_bases": list(world.unseen_bases),
        "runs": [str(run.folder) for run in world.runs],
        "data": world.data,
        "fingerprints": dict(world.fingerprints),
        "zero": world.zero,
        **suite.made_by(world, rows),
    }


def _plan(
    suite: Suite, world: World, rows: Sequence[Row], labels: Sequence[str], reporting: Reporting
) -> Outcome:
    """What `--dry-run` shows: rows, queries, requests."""
    from dataclasses import asdict

    requests = suite.requests(world, rows)
    queries = {task: len(examples) for task, examples in world.examples.items()}
    document = {
        **_made_by(suite, world, rows),
        **suite.plan(world, rows),
        "rows": list(labels),
        "names": list(dict.fromkeys(row.name for row in rows if row.name)),
        "queries": queries,
        "requests": [asdict(each) for each in requests],
    }
    section = Section(
        "Plan",
        [
            Text(f"rows: {', '.join(labels)}"),
            Table(["task", "queries"], [[task, str(count)] for task, count in queries.items()]),
            *(Text(f"{key}: {value}") for key, value in suite.plan(world, rows).items()),
        ],
    )
    reporting.note("dry run: nothing was asked or written")
    return Outcome(document, [section, request_section(requests)], None)
