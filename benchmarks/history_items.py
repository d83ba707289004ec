"""PILLOW's matching network against BM25 as the selector of history items, in context injection and in RPO.

    personakit train pillow --config lamp-items --output runs/items
    personakit train rpo --config nano --output runs/rpo-k1 stages=sft \\
        controls.fine_tuned_context_injection=false retrieval.k=1
    python benchmarks/history_items.py --pillow runs/items --rpo runs/rpo-k1 [--split dev] [--limit 100]

Base model, rewriter and users are the same; only the selection of items differs. Several runs of each method
are seeds of one row; the n-th run of PILLOW is used with the n-th run of RPO. A stopped benchmark is resumed.
The table is printed and written to benchmarks/results/NAME.txt.
"""

from __future__ import annotations

import argparse
import io
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from personakit.baselines import ContextInjection
from personakit.contracts import Personalizer
from personakit.data import open_examples
from personakit.evaluation.candidates import Candidate
from personakit.evaluation.measurements import read_costs, task_metrics
from personakit.evaluation.results import Claims, compute_results
from personakit.evaluation.runner import evaluate
from personakit.evaluation.sections import print_sections
from personakit.files import write_text
from personakit.methods import FinishedRun, open_base, open_run, read_run, register_run_providers
from personakit.retrieval import open_retriever
from personakit.suites import SUITES
from personakit.tasks import get_task

RESULTS = Path(__file__).parent / "results"
TASKS = [f"LaMP_{number}" for number in range(1, 8)]
WINDOW = 512


def injecting(base: str, retriever: str, k: int) -> Personalizer:
    return ContextInjection(open_base(base), open_retriever(retriever, k), WINDOW)


def rewriting(run: FinishedRun, retriever: str, k: int) -> Personalizer:
    retrieval = replace(run.settings.retrieval, name=retriever, k=k)
    return open_run(replace(run, settings=replace(run.settings, retrieval=retrieval)))


def main() -> None:
    """Evaluate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pillow", type=Path, action="append", default=[])
    parser.add_argument("--rpo", type=Path, action="append", default=[])
    parser.add_argument("--split", default="dev")
    parser.add_argument("--limit", type=int, default=100, help="queries a task")
    parser.add_argument("--k", type=int, default=1)
    parser.add_argument("--base", default="nano")
    parser.add_argument("--name", default="history_items", help="of the file with the table")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark/history_items"))
    options = parser.parse_args()
    register_run_providers()
    k, candidates = options.k, []
    rows = {"BM25": "bm25", "random item": "random"}
    for label, name in rows.items():
        candidates.append(Candidate(f"context, {label}", partial(injecting, options.base, name, k)))
    rewriters = [read_run(folder) for folder in options.rpo]
    for run in rewriters:
        candidates.append(Candidate("RPO, BM25", partial(rewriting, run, "bm25", k), seed=run.seed))
    # Last, so that a log of the others can be gone on with when the networks are trained.
    for folder in options.pillow:
        opening = partial(injecting, options.base, f"pillow:{folder}", k)
        candidates.append(Candidate("context, PILLOW", opening, seed=read_run(folder).seed))
    for run, folder in zip(rewriters, options.pillow, strict=False):
        opening = partial(rewriting, run, f"pillow:{folder}", k)
        candidates.append(Candidate("RPO, PILLOW", opening, seed=run.seed))
    stores = {task: open_examples("lamp-mini", task, options.split) for task in TASKS}
    examples = {task: store.subset(min(options.limit, len(store))) for task, store in stores.items()}
    tasks = {task: get_task(task) for task in TASKS}
    log = evaluate(candidates, examples, tasks, options.output, resume=True)
    claims = Claims(compared=[("context, PILLOW", "context, BM25"), ("RPO, PILLOW", "RPO, BM25")])
    results = compute_results(log, {task: task_metrics(each) for task, each in tasks.items()}, claims)
    out = Console(file=io.StringIO(), width=110, markup=False, highlight=False)
    print_sections(SUITES["lamp"].sections(results, read_costs(log)), out)
    assert isinstance(out.file, io.StringIO)
    print(out.file.getvalue())
    write_text(RESULTS / f"{options.name}.txt", out.file.getvalue())


if __name__ == "__main__":
    main()
