"""Does a rewriter forget its old users when its training continues on the pairs of new ones?

    python benchmarks/forgetting.py [--model nano] [--old 150] [--new 6]

Trains on one pair of each old user, continues on several pairs of a few new users (`model=RUN/model`), alone
and with as many old pairs, and scores everybody on a query of theirs that no training has. SFT of the
response alone on lamp-mini, one thread, minutes with nano. Finished runs in --output are left out the next
time. Writes benchmarks/results/forgetting.md.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from _runs import train

from personakit.data import open_examples
from personakit.data.lamp import write_split
from personakit.data.lamp_formats import build_input, search_text, task_format
from personakit.evaluation.bootstrap import mean_of_units
from personakit.files import write_text
from personakit.methods import open_run, read_run
from personakit.records import Example, ProfileItem
from personakit.tasks import get_task

RESULTS = Path(__file__).parent / "results" / "forgetting.md"
TASKS = ("LaMP_4", "LaMP_5")  # an item has what its text was written from, so that it can be a query
PAIRS = 6  # of a new user and a task
SETTINGS = [
    *("stages=sft", "trajectories.writer=none", "controls.fine_tuned_context_injection=false"),
    *("trajectories.max_tokens=64", "decoding.max_new_tokens=64", "prompt_tokens=384", "data.tasks=[]"),
    *("sft.per_device_train_batch_size=16", "seed=0"),
]
RATE, EPOCHS, MORE_EPOCHS = 1e-3, 2, 4
#: The folder of the data, by row.
CONTINUED = {
    "continued on the new users' pairs": "new",
    "continued on new and as many old pairs": "both",
}
Scores = Mapping[str, Sequence[float]]


def main() -> None:
    """Train what is missing, score, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--old", type=int, default=150, help="old users of each task")
    parser.add_argument("--new", type=int, default=6, help="new users of each task")
    parser.add_argument("--output", type=Path, default=Path("runs/forgetting"))
    options = parser.parse_args()
    options.output /= f"{options.model}-{options.old}-{options.new}"
    held_out = write_data(options.output, options.old, options.new)
    first = trained(options.output, "old", options.model, options.model, EPOCHS)
    rows = {"before": scores(first, held_out)}
    for name, data in CONTINUED.items():
        run = trained(options.output, data, str(first / "model"), options.model, MORE_EPOCHS)
        rows[name] = scores(run, held_out)
        table = report(rows, options)
        print(table, flush=True)
        write_text(RESULTS, table)


def write_data(folder: Path, old: int, new: int) -> dict[str, list[Example]]:
    """Write the folders "old", "new" and "both"; return the held-out queries of old and new users."""
    held_out: dict[str, list[Example]] = defaultdict(list)
    for task in TASKS:
        pairs: dict[str, list[Example]] = defaultdict(list)
        store = open_examples("lamp-mini", task, "train")
        for place in range(old + new):
            who, asked = ("old", 0) if place < old else ("new", PAIRS)
            example = store[place]
            *items, last = example.profile.items
            known = replace(example, profile=replace(example.profile, items=tuple(items)))
            held_out[who].append(_about(known, last))
            pairs[who] += [known, *(_about(known, item) for item in items[:asked])]
        pairs["both"] = [*pairs["new"], *pairs["old"][: len(pairs["new"])]]
        for name, examples in pairs.items():
            (folder / "data" / name / task).mkdir(parents=True, exist_ok=True)
            write_split(folder / "data" / name / task, "train", examples)
    return held_out


def _about(example: Example, item: ProfileItem) -> Example:
    """Return the query that has an item's text as its answer, and a history without this item."""
    task = example.query.task
    form = task_format(task)
    assert form.input_key is not None
    text = build_input(task, **{form.input_key: item.fields[form.input_key]})
    query = replace(
        example.query,
        id=f"{example.query.id}-{item.id}",
        text=text,
        search_text=search_text(task, text),
        gold=item.fields[form.output_key],
    )
    others = tuple(each for each in example.profile.items if each.id != item.id)
    return Example(query, replace(example.profile, items=others))


def trained(output: Path, data: str, model: str, base: str, epochs: int) -> Path:
    """Train a run, or take the one that is there; return its folder."""
    folder = output / f"run-{data}"
    if (folder / "model").is_dir():
        return folder
    settings = [f"sft.learning_rate={RATE}", f"sft.num_train_epochs={epochs}"]
    where = [f"model={model}", f"base={base}", f"data.path={output / 'data' / data}"]
    rank = ["lora.r=0"] if base == "nano" else []
    return train("rpo", folder, ["--config", base, *where, *SETTINGS, *settings, *rank])


def scores(run: Path, held_out: Mapping[str, Sequence[Example]]) -> dict[str, Scores]:
    """Return the utilities of the held-out queries of old and new users, by user."""
    rewriter = open_run(read_run(run))
    found: dict[str, Scores] = {}
    for who, examples in held_out.items():
        answers = rewriter.respond([each.query for each in examples], [each.profile for each in examples])
        by_user: dict[str, list[float]] = defaultdict(list)
        for answer, each in zip(answers, examples, strict=True):
            utility = get_task(each.query.task).utility(answer.text, each.query.gold or "")
            by_user[each.query.user_id].append(100 * utility)
        found[who] = by_user
    return found


def report(rows: Mapping[str, Mapping[str, Scores]], options: argparse.Namespace) -> str:
    """Return the table: the mean of each row, and its difference to the first with an interval."""
    before = rows["before"]
    old, new = options.old, options.new
    command = f"python benchmarks/forgetting.py --model {options.model} --old {old} --new {new}"
    lines = [
        "# Forgetting",
        "",
        f"`{command}` wrote this: {', '.join(TASKS)} of lamp-mini, ROUGE-1 in points, one seed. "
        f"{old} old users of each task have one pair, {new} new ones {PAIRS + 1}; each is scored on a query "
        "without a pair. Differences to before are paired, with 95 % intervals over users.",
        "",
        "| training | old users | difference | 95 % interval | new users | difference | 95 % interval |",
        "|---|--:|--:|---|--:|--:|---|",
    ]
    for name, row in rows.items():
        cells = [name]
        for who in ("old", "new"):
            cells.append(f"{mean_of_units(row[who]).value:.1f}")
            if row is before:
                cells += ["", ""]
                continue
            changed = mean_of_units(
                {
                    user: [now - then for now, then in zip(values, before[who][user], strict=True)]
                    for user, values in row[who].items()
                }
            )
            cells += [f"{changed.value:+.1f}", f"[{changed.low:+.1f}, {changed.high:+.1f}]"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
