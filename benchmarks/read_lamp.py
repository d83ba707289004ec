"""Reading an 800 MB LaMP file: streaming into memory-mapped Arrow against `json.load` and ijson.

    python benchmarks/read_lamp.py [--split user|time] [--queries 12500] [--repeats 3]    (needs `ijson`)

Makes a LaMP-4-shaped train file in a temporary folder (12,500 queries of about 205 items, as in
LaMP-4's time split; five queries of a user share a profile) and reads it in separate processes,
alternately: `json.load` of the questions, and `open_examples`, which checks, groups users, digests
and converts, into an empty cache. Printed: seconds (median), peak resident memory, and the same for
a pass over every example of the converted store and for opening it again.

Last result, on two cores with a training in parallel (load average 5; CPU seconds count every thread):

    user split, 773 MB           seconds  ratio   cpu s  ratio  peak MB
    json.load                       8.43   1.00    8.42   1.00     2319
    personakit, first time          6.25   0.74    6.76   0.80      301
    personakit, every example       5.72   0.68    5.71   0.68       75
    personakit, opened again        0.25   0.03    0.25   0.03       64

    time split, 830 MB           seconds  ratio   cpu s  ratio  peak MB
    json.load                       6.91   1.00    6.52   1.00     2529
    personakit, first time          6.24   0.90    6.42   0.98      197
    personakit, every example       6.09   0.88    6.08   0.93       79
    personakit, opened again        0.28   0.04    0.28   0.04       64

Against ijson (elements alone, and a conversion that takes its elements one by one), `--queries 3200`:

    user split, 197 MB           seconds  ratio   cpu s  ratio  peak MB
    json.load                       3.09   1.00    0.92   1.00      600
    personakit, elements alone      1.07   0.35    0.30   0.32       27
    ijson, elements alone           2.09   0.67    0.62   0.67       15
    ijson, first time              18.80   6.08    6.27   6.82      213
    personakit, first time          5.37   1.74    1.86   2.02      209
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ITEMS = 205
QUERIES_PER_USER = 5

_MEASURED = """
import resource, sys, time
{setup}
start, cpu = time.perf_counter(), time.process_time()
{timed}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(time.perf_counter() - start, time.process_time() - cpu, peak)
"""
_WITH_IJSON = """
import ijson, itertools, os
from personakit.data import convert, open_examples
from personakit.data.arrow_profiles import checked_batch
os.environ["PERSONAKIT_CACHE"] += "-ijson"
def batches(questions, checks):
    elements = ijson.items(questions.open("rb"), "item")
    while some := [checks.example(each) for each in itertools.islice(elements, 64)]:
        yield checked_batch(some, checks.format, user_ids=checks.has_user_ids)
convert._batches = batches
"""
_PROGRAMS = {
    "json.load": (
        "import json",
        "with open(sys.argv[1] + '/train_questions.json') as handle: loaded = json.load(handle)",
    ),
    "personakit, elements alone": (
        "from pathlib import Path; from personakit.data.json_stream import stream_list",
        "for element in stream_list(Path(sys.argv[1] + '/train_questions.json')): pass",
    ),
    "ijson, elements alone": (
        "import ijson; assert ijson.backend == 'yajl2_c'",
        "for element in ijson.items(open(sys.argv[1] + '/train_questions.json', 'rb'), 'item'): pass",
    ),
    "ijson, first time": (
        _WITH_IJSON,
        "assert len(open_examples(sys.argv[1], split='train')) > 0",
    ),
    "personakit, first time": (
        "from personakit.data import open_examples",
        "assert len(open_examples(sys.argv[1], split='train')) > 0",
    ),
    "personakit, every example": (
        "from personakit.data import open_examples",
        "for example in open_examples(sys.argv[1], split='train'): pass",
    ),
    "personakit, opened again": (
        "from personakit.data import open_examples",
        "open_examples(sys.argv[1], split='train')[-1]",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--split", choices=["user", "time"], default="user")
    parser.add_argument("--queries", type=int, default=12_500)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="personakit-bench-") as name:
        folder = Path(name)
        make_file(folder, arguments.queries, dated=arguments.split == "time")
        size = (folder / "train_questions.json").stat().st_size / 1e6
        print(f"{arguments.split} split, {arguments.queries} queries of about {ITEMS} items, {size:.0f} MB")
        print_table(measure(folder, arguments.repeats))


def make_file(folder: Path, queries: int, *, dated: bool) -> None:
    """Write `train_questions.json` in LaMP's format as `json.dump` would, one query at a time."""
    generator = random.Random(0)
    words = [
        "".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=generator.randint(2, 9)))
        for _ in range(5000)
    ]
    words += ['"quoted"', "caf\u00e9", "it\u2019s", "{brace}"]

    def text(count: int) -> str:
        return " ".join(generator.choices(words, k=count))

    items: list[dict[str, str]] = []
    with (folder / "train_questions.json").open("w", encoding="utf-8") as handle:
        for number in range(queries):
            user = number // QUERIES_PER_USER
            if number % QUERIES_PER_USER == 0:
                items = [
                    {"id": f"{user}{place:04}", "title": text(8), "text": text(32)}
                    for place in range(generator.randint(ITEMS - 60, ITEMS + 60))
                ]
                if dated:
                    items = [
                        {**item, "date": f"20{10 + i % 9}-0{1 + i % 7}-11"} for i, item in enumerate(items)
                    ]
            held_out = number % QUERIES_PER_USER
            query: dict[str, object] = {
                "id": str(number),
                "input": f"Generate a headline for the following article: {items[held_out]['text']}",
                "profile": items[:held_out] + items[held_out + 1 :],
            }
            if dated:
                query["user_id"] = str(user)
            handle.write(("[" if number == 0 else ", ") + json.dumps(query))
        handle.write("]")


def measure(folder: Path, repeats: int) -> dict[str, list[tuple[float, float, float]]]:
    """Run each program in a separate process, alternately; return (s, cpu s, peak MB) of each."""
    results: dict[str, list[tuple[float, float, float]]] = {name: [] for name in _PROGRAMS}
    for repeat in range(repeats):
        environment = {**os.environ, "PERSONAKIT_CACHE": str(folder / f"cache-{repeat}")}
        for name, (setup, timed) in _PROGRAMS.items():
            program = _MEASURED.format(setup=setup, timed=timed)
            command = [sys.executable, "-c", program, str(folder)]
            printed = subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True
            ).stdout
            seconds, cpu, peak = map(float, printed.split())
            results[name].append((seconds, cpu, peak))
            time.sleep(0.5)
    return results


def print_table(results: dict[str, list[tuple[float, float, float]]]) -> None:
    def middle(name: str, column: int) -> float:
        return statistics.median(run[column] for run in results[name])

    print(f"{'':28}{'seconds':>8}{'ratio':>7}{'cpu s':>8}{'ratio':>7}{'peak MB':>9}")
    for name, runs in results.items():
        cells = [f"{name:28}"]
        for column in (0, 1):
            cells.append(
                f"{middle(name, column):8.2f}{middle(name, column) / middle('json.load', column):7.2f}"
            )
        print("".join(cells) + f"{max(peak for _, _, peak in runs):9.0f}")


if __name__ == "__main__":
    main()
