"""Is there something to personalise in a data set? Answered without a model, in seconds.

    python benchmarks/personal_signal.py FOLDER [--task LaMP_5] [--split train] [--split test]

What users wrote before is compared with their gold answers by the task's metric (accuracy, 1 - error / 4,
ROUGE), and so is what five other users wrote. The difference is what a history can tell about an answer
without its query. Items that repeat the query or the gold answer (near-duplicates) are left out and counted,
as whoever posts a review twice is easily predicted. One row for each task; LaMP-1 has none, as its answers
are not what a user wrote.
"""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from personakit.data import open_examples
from personakit.data.folders import data_folder, task_folders
from personakit.data.lamp_formats import item_input, item_output, task_format
from personakit.data.near_duplicates import near_duplicates
from personakit.evaluation.bootstrap import mean_of_units
from personakit.evaluation.leaks import MIN_WORDS
from personakit.records import Example
from personakit.tasks import Task, get_task

OTHERS = 5


def unrepeated(example: Example) -> list[str]:
    """Return what the user wrote before, without the items that repeat the query or its answer."""
    query, gold = example.query, example.query.gold or ""
    kept = []
    for item in example.profile.items:
        text = item_input(query.task, item)
        repeats = text is not None and near_duplicates(text, query.search_text)
        answer = item_output(query.task, item)
        if not repeats and not (len(gold.split()) >= MIN_WORDS and near_duplicates(answer, gold)):
            kept.append(answer)
    return kept


def likeness(task: Task, answers: Iterable[str], gold: str) -> float:
    """Return the mean utility of answers, in [0, 1]."""
    return float(np.mean([task.utility(answer, gold) for answer in answers]))


def row(task: Task, examples: Sequence[Example]) -> str:
    """Return the table's line of a task."""
    histories = [(example, unrepeated(example)) for example in examples]
    repeats = sum(len(example.profile.items) - len(own) for example, own in histories)
    some = [(example, own) for example, own in histories if own and example.query.gold]
    own, others, gains = (cast("dict[str, list[float]]", defaultdict(list)) for _ in range(3))
    by_user = {example.query.user_id: answers for example, answers in some}
    users = list(by_user)
    places = {user: place for place, user in enumerate(users)}
    for example, answers in some:
        user, gold = example.query.user_id, example.query.gold or ""
        following = (users[(places[user] + step) % len(users)] for step in range(1, len(users)))
        theirs = [by_user[other] for other in itertools.islice(following, OTHERS)]
        if theirs:
            own[user].append(likeness(task, answers, gold))
            others[user].append(float(np.mean([likeness(task, each, gold) for each in theirs])))
            gains[user].append(own[user][-1] - others[user][-1])
    if not own:
        return f"| {task.name} | 0 | {repeats} | too few users with a history | | |"
    gain = mean_of_units(gains)
    values = f"{mean_of_units(own).value:.3f} | {mean_of_units(others).value:.3f}"
    interval = f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
    return f"| {task.name} | {len(own)} | {repeats} | {values} | {interval} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--task", action="append", default=[])
    parser.add_argument("--split", action="append", default=[])
    options = parser.parse_args()
    print("| task | users | repeated items | own earlier answers | other users' | difference |")
    print("|---|---|---|---|---|---|")
    for name in options.task or task_folders(data_folder(options.folder)):
        if task_format(name).search_parts == ("ref1", "ref2"):
            continue
        stores = [open_examples(options.folder, name, split) for split in options.split or ["train"]]
        print(row(get_task(name), [example for store in stores for example in store]), flush=True)


if __name__ == "__main__":
    main()
