"""What `personakit eval preference` does: held-out pairs and rows, margins into the log, results, report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.cli.errors import resumable
from personakit.cli.evaluation_folder import again, begin, folder_for, tell_failed, told
from personakit.cli.options import spread
from personakit.cli.output import Result, harmless, note, table
from personakit.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.cli.eval_options import PreferenceRequest
    from personakit.cli.preference_rows import PreferenceComparison
    from personakit.data.preferences import PreferenceStore
    from personakit.evaluation.preferences import PreferencePairs
    from personakit.methods import FinishedRun

SUITE = "preference"
_UNCOUNTED = 32
"""Tokens that a chat template adds to a prompt, and a tokenizer's own beginning and end."""


def evaluate_preferences(request: PreferenceRequest) -> Result:
    """Run one evaluation from its options to its report."""
    from personakit.cli.checking import look_for_pair_leaks
    from personakit.cli.preference_rows import choose_rows, make_comparison, with_black_boxes
    from personakit.evaluation.preference_results import preference_results
    from personakit.evaluation.preference_table import notes, print_preferences
    from personakit.evaluation.preferences import TASK, weighing
    from personakit.evaluation.results import write_results
    from personakit.evaluation.runner import check_candidates, run_passes
    from personakit.evaluation.samples import SAMPLES_FILE

    # First: a refused call must not load models, or count as a look at test.
    folder = folder_for(SUITE, request.split, request.output, resume=request.resume)
    runs = _runs(request.runs)
    bases, black_boxes = _bases(request.bases, request.judge)
    data = request.data or runs[0].settings.data.path
    store = _users(request, data)
    personas = {user.user_id: user.persona for user in store if user.persona is not None}
    rows = choose_rows(
        request.rows or None,
        runs,
        users=len(store),
        personas=personas,
        trained=_trained_personas(data) if personas else (),
        per_user=request.per_user,
    )
    pairs, skipped = _pairs(store, runs[0], bases, rows)
    leaks = look_for_pair_leaks(data, request.split, runs, pairs, strict=request.strict)
    comparison = make_comparison(rows, runs, data, personas, bases)
    made_by = _made_by(request, runs, store, comparison.zero, [*bases, *black_boxes])
    if "oracle" in rows:
        made_by["oracle"] = _oracle(runs)
    if request.dry_run:
        plan = {"rows": comparison.labels, "users": len(store), "pairs": len(pairs), **made_by}
        answered = with_black_boxes(comparison, runs, black_boxes) if request.judge else []
        return _planned(plan, judged=len({candidate.method for candidate in answered}) * len(store))
    examples = {TASK: pairs}
    check_candidates(comparison.candidates, examples)
    looks = begin(folder, made_by, tasks=[TASK], methods=comparison.labels)
    with resumable(again(folder)), told() as progress:
        log = run_passes(
            comparison.candidates,
            examples,
            weighing(pairs),
            folder / SAMPLES_FILE,
            seed=request.seed,
            resume=request.resume,
            progress=progress,
        )
    results = preference_results(
        log, comparison.claims(), made_by=made_by, skipped=skipped, seed=request.seed
    )
    if request.judge is not None:
        results["judged"] = _judged(request, folder, comparison, runs, black_boxes, pairs, store)
        tell_failed(sum(results["judged"]["failed"].values()), folder)
    results |= {"leaks": leaks.write(folder), "notes": list(notes(results))}
    write_results(folder, results)
    _write_page(folder, results, runs, looks)

    def show(out: Console) -> None:
        print_preferences(results, out)
        out.print(harmless(str(folder)))

    return Result({**results, "folder": str(folder)}, show)


def _oracle(runs: Sequence[FinishedRun]) -> str:
    """Say who is told the persona: a generator that learnt to read personas, or POPI's own."""
    from personakit.popi.opening import ORACLE_GENERATOR, adapters_of

    if all(ORACLE_GENERATOR in adapters_of(run.folder) for run in runs):
        return "a generator trained on personas"
    note(
        "oracle persona: POPI's generator is told the persona; controls.oracle_generator=true trains its own"
    )
    return "POPI's generator"


def _write_page(folder: Path, results: dict[str, Any], runs: Sequence[FinishedRun], looks: int) -> None:
    from personakit.cli.evaluating import write_page
    from personakit.evaluation.report import REPORT_FILE

    write_page(folder, results, runs={str(run.folder): run.folder for run in runs}, looks=looks)
    note(f"report: {folder / REPORT_FILE}")


def _runs(folders: Sequence[Path]) -> list[FinishedRun]:
    from personakit.methods import newest_run, read_run

    runs = [read_run(folder) for folder in folders or [newest_run("popi")]]
    for run in runs:
        if run.method != "popi":
            raise UserError(
                f"{run.folder}: a run of {run.method}, expected one of popi",
                hint="`personakit eval lamp` takes runs of every method",
            )
    return runs


def _bases(names: Sequence[str], judge: str | None) -> tuple[list[str], list[str]]:
    """The frozen models asked for, each once: those that can score, and black boxes; all are there."""
    from personakit.models.open import check_model, is_endpoint

    bases = list(dict.fromkeys(names))
    for name in [*bases, *([] if judge is None else [judge])]:
        check_model(name)
    black_boxes = [base for base in bases if is_endpoint(base)]
    if black_boxes and judge is None:
        raise UserError(
            f"--base {black_boxes[0]}: a black box cannot score given texts: only a judge can say what a "
            "summary does to its answers",
            hint="add --judge MODEL, or name a model on this machine",
        )
    return [base for base in bases if base not in black_boxes], black_boxes


def _judged(
    request: PreferenceRequest,
    folder: Path,
    comparison: PreferenceComparison,
    runs: Sequence[FinishedRun],
    black_boxes: Sequence[str],
    pairs: PreferencePairs,
    store: PreferenceStore,
) -> dict[str, Any]:
    """Have every row answer each user's first request, and the judge compare the answers."""
    from personakit.cli.preference_rows import opponents, with_black_boxes
    from personakit.evaluation.preference_judging import ANSWERS_FILE, TASK, answering, judge_answers
    from personakit.evaluation.runner import run_passes
    from personakit.methods import open_base

    asked = pairs.first_of_each_user()
    candidates = with_black_boxes(comparison, runs, black_boxes)
    with resumable(again(folder)), told() as progress:
        run_passes(
            candidates,
            {TASK: asked},
            answering(),
            folder / ANSWERS_FILE,
            seed=request.seed,
            resume=True,
            progress=progress,
        )
        known = _known(store)
        return judge_answers(
            folder,
            open_base(str(request.judge)),
            lambda user: known[user],
            opponents(candidates, comparison.zero),
            seed=request.seed,
        )


def _known(store: PreferenceStore) -> dict[str, str]:
    """What a judge is told of each user: the persona, or the signals in words where there is none."""
    from personakit.tasks.signals import render_signals

    return {
        user.user_id: user.persona
        or render_signals(user.signals, count_tokens=lambda text: len(text.split()), max_length=2000)[0]
        for user in store
    }


def _trained_personas(data: str) -> set[str]:
    """The personas of the users in the training split; none where there is no such split."""
    from personakit.data.folders import data_folder
    from personakit.data.preferences import open_preferences, preference_files

    if "train" not in preference_files(data_folder(data)):
        return set()
    return {user.persona for user in open_preferences(data, "train") if user.persona is not None}


def _users(request: PreferenceRequest, data: str) -> PreferenceStore:
    from personakit.data.preferences import open_preferences

    store = open_preferences(data, request.split)
    for reason, skip in store.skipped.items():
        note(f"left out of {request.split}: {skip.count} {reason} (first: {skip.first})")
    return spread(store, request.limit)


def _pairs(
    store: PreferenceStore, run: FinishedRun, bases: Sequence[str], rows: Sequence[str]
) -> tuple[PreferencePairs, dict[str, int]]:
    """The held-out pairs that fit every model, and what was left out, by reason."""
    from personakit.data.preferences.profiles import as_profile
    from personakit.evaluation.preferences import PreferencePairs, query_id
    from personakit.models.cost import token_counter
    from personakit.records import Query
    from personakit.tasks.signals import wording_for

    settings = run.settings
    count = token_counter(settings.model)
    room = _room([settings.model, *bases])
    told = settings.data.signal_tokens if "history" in rows else settings.joint.max_summary_tokens
    wording = wording_for(store.task)
    skipped: Counter[str] = Counter({reason: skip.count for reason, skip in store.skipped.items()})
    users = []
    for user in store:
        asked = []
        for number, pair in enumerate(user.pairs, start=1):
            text = wording.request(pair.prompt)
            longest = max(count(pair.chosen), count(pair.rejected))
            if room is not None and count(text) + told + longest + _UNCOUNTED > room:
                skipped["pairs longer than the models' context window"] += 1
                continue
            query = Query(
                query_id(pair, number),
                store.task or SUITE,
                text,
                pair.prompt,
                user.user_id,
                pair.chosen,
            )
            asked.append((query, pair.rejected))
        if asked:
            users.append((user, as_profile(user.user_id, user.signals), asked))
    if not users:
        raise UserError(
            f"{store.path}: no held-out pair fits the {room} tokens of the models' context window",
            hint="evaluate with models of a longer one",
        )
    return PreferencePairs(users), dict(skipped)


def _room(models: Sequence[str]) -> int | None:
    """The shortest context window of these models; None where none of them says."""
    from personakit.models.model_files import context_window, locate
    from personakit.models.open import resolve_model
    from personakit.models.stand_ins import split_name

    names = [(split_name(name) or (name,))[0] for name in models]
    windows = [context_window(locate(resolve_model(name))) for name in names]
    return min((window for window in windows if window is not None), default=None)


def _made_by(
    request: PreferenceRequest,
    runs: Sequence[FinishedRun],
    store: PreferenceStore,
    zero: str,
    bases: Sequence[str],
) -> dict[str, Any]:
    """What the results rest on; no times, so that a resumed evaluation ends with the same file."""
    from personakit import __version__

    return {
        "personakit": __version__,
        "suite": SUITE,
        "split": request.split,
        "limit": request.limit,
        "seed": request.seed,
        "base": runs[0].settings.model,
        "unseen_bases": list(bases),
        **({"judge": request.judge} if request.judge else {}),
        "runs": [str(run.folder) for run in runs],
        "data": request.data or runs[0].settings.data.path,
        "fingerprints": {SUITE: store.fingerprint},
        "beta": runs[0].settings.joint.beta,
        "zero": zero,
    }


def _planned(document: dict[str, Any], *, judged: int) -> Result:
    """What `--dry-run` prints; a judge is asked twice about each answer it compares."""
    document = {**document, "answers": judged, "judge_requests": 2 * judged}

    def show(out: Console) -> None:
        table(out, ("row",), [(label,) for label in document["rows"]])
        out.print(f"{document['pairs']} held-out pairs of {document['users']} users")
        if judged:
            out.print(f"{judged} answers a seed, at most {2 * judged} requests to the judge for them")

    note("dry run: nothing was scored or written")
    return Result(document, show)
