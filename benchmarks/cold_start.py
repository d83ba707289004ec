"""`personakit infer` from a cold start, against the bare import of the libraries that it stands on.

    python benchmarks/cold_start.py --run RUN --profile FILE [--query TEXT] [--turns 5]

A turn runs `import torch, transformers` and the whole command one after the other, each in a new process, so
that load on the machine slows both. The answer's model time is what the command itself reports ("seconds"; of
a draft that comes from the answer cache, its original time). A third process is the command with a timer
around Python's imports, for the split. Wall times and ratios are medians over the turns; CPU times, which
other processes disturb less, too. The table is printed and written to benchmarks/results/cold_start.md.
"""

from __future__ import annotations

import argparse
import builtins
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personakit.files import write_text
from personakit.training.allocator import allocator_environment

RESULTS = Path(__file__).parent / "results" / "cold_start.md"
QUERY = "We moved the meeting about the budget to Friday because Maria is ill until Thursday."
BARE = "import torch, transformers"
IMPORTS = "imports took"


@dataclass(frozen=True)
class Took:
    """One process: seconds by the clock, seconds of CPU time, and what it printed."""

    wall: float
    cpu: float
    stdout: str
    stderr: str


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--query", default=QUERY)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    arguments = ["infer", options.query, "--profile", options.profile, "--run", options.run, "--json"]
    measure(["-m", "personakit", *arguments])  # converts and caches what is made once
    turns = [
        (
            measure(["-c", BARE]),
            measure(["-m", "personakit", *arguments]),
            measure([__file__, "--timed", *arguments], allocator_environment()),
        )
        for _ in range(options.turns)
    ]

    def median(value: Any) -> float:
        return statistics.median(value(*turn) for turn in turns)

    model = median(lambda bare, whole, timed: seconds(whole))
    imports = median(lambda bare, whole, timed: imports_of(timed))
    wall = median(lambda bare, whole, timed: whole.wall)
    rows = [
        (f"`{BARE}`", median(lambda bare, *_: bare.wall), median(lambda bare, *_: bare.cpu)),
        ("`personakit infer`, all", wall, median(lambda bare, whole, _: whole.cpu)),
        ("of which imports", imports, None),
        ("of which the model's answer", model, None),
        ("of which loading and the rest", wall - imports - model, None),
    ]
    ratios = [
        ("all", median(lambda bare, whole, _: whole.wall / bare.wall)),
        ("all, CPU time", median(lambda bare, whole, _: whole.cpu / bare.cpu)),
        (
            "all but the model's answer",
            median(lambda bare, whole, _: (whole.wall - seconds(whole)) / bare.wall),
        ),
    ]
    lines = ["| what | seconds | CPU seconds |", "|---|---|---|"]
    lines += [f"| {what} | {took:.2f} | {'' if cpu is None else f'{cpu:.2f}'} |" for what, took, cpu in rows]
    lines += ["", "| `personakit infer` / bare import | ratio |", "|---|---|"]
    lines += [f"| {what} | {ratio:.2f} |" for what, ratio in ratios]
    answer = json.loads(turns[0][1].stdout)
    lines += ["", f"{about()}; {options.turns} turns; {answer['tokens']} tokens in prompts and answers."]
    text = "\n".join(lines) + "\n"
    print(text)
    write_text(RESULTS, text)


def measure(arguments: list[str], environment: dict[str, str] | None = None) -> Took:
    """Run Python with these arguments."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(wall, cpu, done.stdout, done.stderr)


def seconds(whole: Took) -> float:
    """The model time that the command reports."""
    return float(json.loads(whole.stdout)["seconds"])


def imports_of(timed: Took) -> float:
    """The time of imports that `timed_command` printed."""
    return float(timed.stderr.rpartition(IMPORTS)[2])


def timed_command(arguments: list[str]) -> int:
    """Run the command line in this process and print how long the imports took, each counted once."""
    plain_import, depth, total = builtins.__import__, 0, 0.0

    def timed_import(*given: Any, **options: Any) -> Any:
        nonlocal depth, total
        began, depth = time.perf_counter(), depth + 1
        try:
            return plain_import(*given, **options)
        finally:
            depth -= 1
            if depth == 0:
                total += time.perf_counter() - began

    builtins.__import__ = timed_import
    from personakit.cli import main as run

    status = run(arguments)
    print(IMPORTS, total, file=sys.stderr)
    return status


def about() -> str:
    """The machine and the versions."""
    import torch
    import transformers

    from personakit.models.cpu import bfloat16_units, cpu_name, usable_cores

    units = ", ".join(bfloat16_units()) or "no bfloat16 units"
    return (
        f"{cpu_name()} ({units}), {usable_cores()} cores, {torch.get_num_threads()} threads, "
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--timed"]:
        sys.exit(timed_command(sys.argv[2:]))
    main()
