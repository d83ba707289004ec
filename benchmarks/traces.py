"""Does a trace help a real model? Response only, template trace and self-written trace, on real text.

    python benchmarks/traces.py --emails FILE.csv --reviews FILE.json [--model smollm2] [--seeds 1]

The files are what `personakit data import` reads: rewritten e-mails (user_id, original, revised) and product
reviews of users. Only SFT: one pass over the same examples, LoRA of rank 16, one thread. Evaluated on dev
users with a history. Each run and evaluation is resumed or left out where it is finished; cells that are not
there yet are missing in the table, which is printed and written to benchmarks/results/traces.md after each.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from _runs import personakit, train

from personakit.data import open_examples
from personakit.data.folders import take_evenly
from personakit.data.lamp import write_split
from personakit.evaluation.measurements import task_metrics
from personakit.evaluation.results import Claims, compute_results
from personakit.evaluation.samples import Sample, append_batch, read_samples
from personakit.files import write_text
from personakit.records import Example
from personakit.tasks import get_task

RESULTS = Path(__file__).parent / "results" / "traces.md"
KINDS = {"none": "response only", "template": "template trace", "own": "self-written trace"}
SETTINGS = [
    *("stages=sft", "controls.fine_tuned_context_injection=false", "trajectories.no_history_share=0"),
    *("trajectories.max_tokens=224", "lora.r=16", "sft.learning_rate=1e-3", "sft.num_train_epochs=1"),
    *("sft.per_device_train_batch_size=4", "sft.max_length=768", "prompt_tokens=320"),
]
#: By data: tasks, suite, items in the prompt, training and dev queries of each task.
SETS = {
    "e-mails": (("rewriting",), "rewriting", 1, 160, 60),
    "reviews": (("LaMP_3", "LaMP_5"), "lamp", 2, 100, 60),
}
#: Characters of query and answer, and of an item: e-mails longer than that take most of the time.
LONGEST = 400


def main() -> None:
    """Import, train, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--emails", type=Path)
    parser.add_argument("--reviews", type=Path)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("runs/traces"))
    options = parser.parse_args()
    files = {"e-mails": options.emails, "reviews": options.reviews}
    for seed in range(options.seeds):
        for name in (name for name in SETS if files[name] is not None):
            folder = options.output / name
            if not (folder / "data").is_dir():
                select(name, files[name], folder)
            for kind in KINDS:
                cell(name, kind, seed, options.model, folder)
                table = report(options.output, options.seeds)
                print(table, flush=True)
                write_text(RESULTS, table)


def select(name: str, file: Path, folder: Path) -> None:
    """Write the queries of users with a history, the shorter ones, evenly over the users."""
    tasks, _, _, trained, measured = SETS[name]
    personakit("data", "import", str(file), str(folder / "imported"))
    for task in tasks:
        for split, count in (("train", trained), ("dev", measured)):
            store = open_examples(folder / "imported", task, split)
            short = [place for place, example in enumerate(store) if usable(example)]
            write_split(
                folder / "data" / task,
                split,
                map(without_long_items, take_evenly(store.subset(short), count)),
                user_ids=True,
            )


def usable(example: Example) -> bool:
    """Return whether query and answer are short and the user has a short item."""
    query = example.query
    length = len(query.search_text) + len(query.gold or "")
    return length <= LONGEST and bool(without_long_items(example).profile.items)


def without_long_items(example: Example) -> Example:
    """Return the example with its short items."""
    items = [item for item in example.profile.items if sum(map(len, item.fields.values())) <= LONGEST]
    return replace(example, profile=replace(example.profile, items=tuple(items)))


def cell(name: str, kind: str, seed: int, model: str, folder: Path) -> None:
    """Train one kind of trajectory, then evaluate it on dev."""
    _, suite, items, _, _ = SETS[name]
    run, evaluation = folder / f"{kind}-{seed}", folder / f"{kind}-{seed}-eval"
    if not (evaluation / "results.json").exists():
        places = [f"model={model}", f"base={model}", f"data.path={folder / 'data'}", f"retrieval.k={items}"]
        train("rpo", run, [*places, *SETTINGS, f"trajectories.writer={kind}", f"seed={seed}"])
        begun = ["--resume"] if (evaluation / "samples.jsonl").exists() else []
        personakit(
            "eval", suite, "--run", str(run), "--baseline", "generic", "--output", str(evaluation), *begun
        )


def relabelled(evaluation: Path, kind: str) -> Iterator[Sample]:
    """Yield the samples of an evaluation with the kind as the method; the drafts only once."""
    for sample in read_samples(evaluation / "samples.jsonl"):
        if sample.method == "RPO":
            yield replace(sample, method=KINDS[kind])
        elif kind == "none" and evaluation.name.startswith("none-0"):
            yield replace(sample, method="the draft")


def report(output: Path, seeds: int) -> str:
    """Return the table of all finished cells, with differences to the response only."""
    lines = [
        "# Does a trace help a real model?",
        "",
        "`python benchmarks/traces.py --emails FILE.csv --reviews FILE.json` wrote this: dev queries, SFT "
        "only, the same examples. Differences are to the response only, over users and seeds.",
        "",
        "| data | trajectories | seeds | kept | training tokens | score | to response only | 95 % interval | "
        "to the draft | 95 % interval | fallbacks | tokens/answer |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, (tasks, *_) in SETS.items():
        log = output / name / "all.jsonl"
        log.unlink(missing_ok=True)
        found = [
            (kind, seed, output / name / f"{kind}-{seed}-eval")
            for kind in KINDS
            for seed in range(seeds)
            if (output / name / f"{kind}-{seed}-eval" / "results.json").exists()
        ]
        for kind, _, evaluation in found:
            append_batch(log, list(relabelled(evaluation, kind)))
        if found:
            lines += rows(name, tasks, log, [(kind, seed) for kind, seed, _ in found], output)
    return "\n".join(lines) + "\n"


def rows(
    name: str, tasks: Sequence[str], log: Path, found: Sequence[tuple[str, int]], output: Path
) -> list[str]:
    """Return the table's lines of one data set."""
    labels = list(KINDS.values())
    pairs = [(label, other) for label in labels for other in (labels[0], "the draft") if label != other]
    metrics = {task: task_metrics(get_task(task)) for task in tasks}
    results = compute_results(log, metrics, Claims(compared=pairs))
    samples = list(read_samples(log))
    scores = {row["method"]: row["value"] for row in results["rows"]}  # a method's last row is over all tasks
    differences = {(one["method"], one["against"]): one for one in results["beats"]}

    def difference(label: str, other: str) -> str:
        one = differences.get((label, other))
        if one is None:
            return "- | -"
        return f"{one['difference']:+.3f} | [{one['low']:+.3f}, {one['high']:+.3f}]"

    lines = [f"| {name} | the draft | | | | {scores['the draft']:.3f} | - | - | - | - | - | - |"]
    for kind, label in KINDS.items():
        seeds = [seed for other, seed in found if other == kind]
        if not seeds:
            continue
        facts = [json.loads((output / name / f"{kind}-{seed}" / "run.json").read_text()) for seed in seeds]
        own = [sample for sample in samples if sample.method == label]
        kept = " / ".join(str(fact["trajectories"]["kept"]) for fact in facts)
        trained = " / ".join(f"{fact['stages']['sft']['tokens']:,}" for fact in facts)
        lines.append(
            f"| {name} | {label} | {len(seeds)} | {kept} | {trained} | {scores[label]:.3f} | "
            f"{difference(label, labels[0])} | {difference(label, 'the draft')} | "
            f"{sum(sample.degraded is not None for sample in own)} of {len(own)} | "
            f"{sum(sample.tokens for sample in own) / len(own):.0f} |"
        )
    return lines


if __name__ == "__main__":
    main()
