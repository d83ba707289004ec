"""What `personakit eval instruction` does: instructions and pools, rows, answers, results, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from personakit.cli.errors import resumable
from personakit.cli.evaluation_folder import again, begin, folder_for, told, write_evaluation_page
from personakit.cli.options import spread
from personakit.cli.output import Result, harmless, note
from personakit.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.cli.eval_options import InstructionRequest
    from personakit.data.instructions import InstructionStore
    from personakit.methods import FinishedRun
    from personakit.pillow.answering import Offer

SUITE = "instruction"
VARIANTS_FILE = "variants.jsonl"
JUDGED_FILE = "judged.jsonl"


def evaluate_instructions(request: InstructionRequest) -> Result:
    """Run one evaluation from its options to its report."""
    from personakit.cli.checking import look_for_instruction_leaks
    from personakit.cli.instruction_rows import ALONE, choose_rows, make_rows, prices_of, training_of
    from personakit.evaluation.bootstrap import RESAMPLES
    from personakit.evaluation.costs import seconds_of
    from personakit.evaluation.instruction_table import print_instruction_results
    from personakit.evaluation.instructions import TASK, answering, examples_of, facts, judge_log
    from personakit.evaluation.leaks import kept_out_sentence
    from personakit.evaluation.matching import matching
    from personakit.evaluation.report import REPORT_FILE
    from personakit.evaluation.results import compute_results, write_results
    from personakit.evaluation.runner import check_candidates, run_passes
    from personakit.evaluation.samples import SAMPLES_FILE
    from personakit.models.cost import token_counter

    # First: a refused call must not load models, or count as a look at test.
    folder = folder_for(SUITE, request.split, request.output, resume=request.resume)
    runs = _runs(request.runs)
    names = choose_rows(request.rows or None, runs)
    asked = _asked(request, runs[0])
    offers = _offers(runs, asked)
    kept_out = {
        "queries": sum(bool(offer.kept_out) for offer in offers.values()),
        "prompts": sum(len(offer.kept_out) for offer in offers.values()),
    }
    note(kept_out_sentence(kept_out))
    leaks = look_for_instruction_leaks(runs, asked, strict=request.strict)
    smallest = min(len(offer.pool) for offer in offers.values())
    rows = make_rows(names, runs, lambda query: offers[query.id], smallest, variants=request.variants)
    made_by = _made_by(request, runs, names, asked, offers)
    if request.dry_run:
        return _plan(made_by, rows.labels, len(asked), len(rows.variants))
    if request.judge is not None:
        from personakit.models.open import check_model

        check_model(request.judge)
    examples = {TASK: examples_of(asked.rows, asked.user_ids)}
    check_candidates(rows.candidates, examples)
    looks = begin(folder, made_by, tasks=[TASK], methods=rows.labels)
    answer = answering(asked.rows, token_counter(runs[0].settings.model))
    logs = [folder / SAMPLES_FILE, folder / VARIANTS_FILE]
    with resumable(again(folder)), told() as progress:
        for log, passes in zip(logs, (rows.candidates, rows.variants), strict=True):
            if passes:
                resume = request.resume or log != logs[0]
                run_passes(passes, examples, answer, log, seed=request.seed, resume=resume, progress=progress)
        unread: dict[str, int] = {}
        scored = logs[0]
        if request.judge is not None:
            from personakit.methods import open_base

            scored = folder / JUDGED_FILE
            unread = judge_log(logs[0], scored, ALONE, open_base(request.judge))
    results: dict[str, Any] = compute_results(
        scored, facts(judged=request.judge is not None), rows.claims(), made_by=made_by, seed=request.seed
    )
    results["users_are"] = "instructions"
    prompts = _common_prompts(offers)
    training = training_of(rows.labels, [_compute(run) for run in runs])
    results |= {
        "training": training,
        "prices": prices_of(training),
        "leaks": leaks.write(folder),
        "kept_out": kept_out,
        "matching": matching(logs, rows.passes(prompts), resamples=RESAMPLES, seed=request.seed),
        "unread_verdicts": unread,
    }
    write_results(folder, results)
    write_instruction_page(folder, results, runs={str(run.folder): run.folder for run in runs}, looks=looks)
    note(f"report: {folder / REPORT_FILE}")
    seconds = seconds_of(logs[0])

    def show(out: Console) -> None:
        print_instruction_results(results, out)
        out.print(harmless(str(folder)))

    return Result({**results, "seconds_per_answer": seconds, "folder": str(folder)}, show)


def write_instruction_page(
    folder: Path, results: dict[str, Any], *, runs: dict[str, Path], looks: int
) -> Path:
    """Write the report of an evaluation's folder."""
    from personakit.cli.instruction_rows import ALONE

    return write_evaluation_page(folder, results, baseline=ALONE, shown=None, runs=runs, looks=looks)


def _runs(folders: list[Path]) -> list[FinishedRun]:
    from dataclasses import replace

    from personakit.methods import newest_run, read_pillow_run

    runs = [read_pillow_run(folder) for folder in folders or [newest_run("pillow")]]
    for run in runs:
        if run.settings.data.tasks:
            raise UserError(
                f"{run.folder} picks from users' histories, expected a run on one pool of prompts",
                hint=f"evaluate it with `personakit eval lamp --run {run.folder}`",
            )
        if replace(run.settings, seed=0) != replace(runs[0].settings, seed=0):
            raise UserError(
                f"{runs[0].folder} and {run.folder} were trained with different settings",
                hint="runs that differ in their seed only are one row; evaluate the others by themselves",
            )
    return runs


def _asked(request: InstructionRequest, run: FinishedRun) -> InstructionStore:
    """The instructions, at most `limit` of them, spread over the split."""
    from personakit.data.instructions import open_instructions

    settings = run.settings.data
    return spread(open_instructions(request.data or settings.path, request.split), request.limit)


def _offers(runs: list[FinishedRun], asked: InstructionStore) -> dict[str, Offer]:
    """What each instruction may be shown: the runs' pool, without what gives its answer away."""
    from personakit.data.instructions import kept_out
    from personakit.pillow.answering import Offer
    from personakit.pillow.opening import pool_of

    pool = pool_of(runs[0])
    for run in runs:
        own = pool_of(run)
        if pool is None or own is None or own.fingerprint != pool.fingerprint:
            raise UserError(
                f"{run.folder} was not trained on the pool of prompts that {runs[0].folder} was",
                hint="evaluate runs of one pool together",
            )
    assert pool is not None
    return {one.id: Offer(one, pool, out) for one, out in zip(asked.rows, kept_out(asked, pool), strict=True)}


def _common_prompts(offers: dict[str, Offer]) -> list[tuple[str, str]]:
    """The id and text of each prompt, where all are offered the same."""
    pools = {offer.pool.fingerprint: offer.pool for offer in offers.values()}
    if len(pools) > 1:
        return []
    [pool] = pools.values()
    return [(each.id, f"{each.instruction} {each.input} => {each.output}") for each in pool.prompts]


def _compute(run: FinishedRun) -> dict[str, Any]:
    import json

    facts = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    compute: dict[str, Any] = facts.get("compute", {})
    return compute


def _made_by(
    request: InstructionRequest,
    runs: list[FinishedRun],
    names: list[str],
    asked: InstructionStore,
    offers: dict[str, Offer],
) -> dict[str, Any]:
    """What the results rest on; no times, so that a resumed evaluation ends with the same file."""
    from personakit import __version__

    pools = sorted({offer.pool.fingerprint for offer in offers.values()})
    return {
        "personakit": __version__,
        "suite": SUITE,
        "split": request.split,
        "limit": request.limit,
        "seed": request.seed,
        "base": runs[0].settings.model,
        "runs": [str(run.folder) for run in runs],
        "rows": list(names),
        "variants": request.variants,
        "m": runs[0].settings.matcher.m,
        "judge": request.judge,
        "data": request.data or runs[0].settings.data.path,
        "pools": len(pools),
        "fingerprints": {"instructions": asked.fingerprint, "pool": pools[0]},
    }


def _plan(made_by: dict[str, Any], labels: list[str], instructions: int, variants: int) -> Result:
    """What a call would do."""
    document = {**made_by, "labels": labels, "instructions": instructions}

    def show(out: Console) -> None:
        out.print(harmless(f"rows: {', '.join(labels)}"))
        out.print(f"{instructions} instructions, {len(made_by['runs'])} runs, {variants} passes for variants")

    return Result(document, show)
