"""Local inference on this CPU: float32 with busy waiting (before) against the present choice (after).

    python benchmarks/local_speed.py [--model smollm2] [--turns 5] [--new-tokens 24]

Both sides decode and score the same prompts through `LocalModel`, each in a process of its own; a turn asks
one after the other, so that load on the machine slows both. Before is float32, and OpenMP's default of a busy
loop while a thread waits; after is what `personakit env` shows. Figures are medians over the turns; "faster"
is the median of the turns' ratios. With two processes at once, the time is that of the slower one. End tokens
are ignored. The table is printed and written to benchmarks/results/local_speed.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from personakit.files import write_text
from personakit.models.environment import silence_libraries
from personakit.training.allocator import allocator_environment

RESULTS = Path(__file__).parent / "results" / "local_speed.md"
SIDES = ("before", "after")
WORDS = ("storm", "coast", "city", "people", "report", "market", "game", "music", "history", "river", "road")
WORK = ("generation, 1 prompt", "generation, 16 prompts", "scoring, 16 answers")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--new-tokens", type=int, default=24)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    workers = {side: [Worker(side, options) for _ in range(2)] for side in SIDES}
    alone: dict[tuple[str, str], list[float]] = {(side, what): [] for side in SIDES for what in WORK}
    both: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(options.turns):
        for what in WORK:
            for side, (first, _second) in workers.items():
                first.start(what)
                alone[side, what].append(first.seconds())
        for side, pair in workers.items():
            for worker in pair:
                worker.start(WORK[1])
            both[side].append(max(worker.seconds() for worker in pair))
    lines = ["| what | before s | after s | faster |", "|---|---|---|---|"]
    for what in WORK:
        before, after = (alone[side, what] for side in SIDES)
        lines.append(row(what, before, after))
    lines.append(row("two processes, 16 prompts each", both["before"], both["after"]))
    slower = [f"{side} {slowdown(both[side], alone[side, WORK[1]]):.1f}x" for side in SIDES]
    text = "\n".join(lines) + f"\n\nTwo processes at once, time of one alone = 1: {', '.join(slower)}.\n\n"
    machine = workers["after"][0].facts
    text += f"{machine}; {options.turns} turns, {options.new_tokens} new tokens.\n"
    write_text(RESULTS, text)
    print(text)
    for worker in (worker for pair in workers.values() for worker in pair):
        worker.stop()


def row(what: str, before: list[float], after: list[float]) -> str:
    ratio = statistics.median(a / b for a, b in zip(before, after, strict=True))
    return f"| {what} | {statistics.median(before):.2f} | {statistics.median(after):.2f} | {ratio:.2f} |"


def slowdown(together: list[float], alone: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(together, alone, strict=True))


class Worker:
    """A process that does a piece of work when told, and reports the seconds."""

    def __init__(self, side: str, options: Any) -> None:
        environment = {**os.environ, **allocator_environment()}
        if side == "before":  # nothing decides how threads wait, and the format is the old one
            environment |= {"PERSONAKIT_DTYPE": "float32", "GOMP_SPINCOUNT": "300000"}
        arguments = [f"--model={options.model}", f"--new-tokens={options.new_tokens}", "--worker"]
        self._process = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.facts = self._line()

    def start(self, what: str) -> None:
        """Begin a piece of work."""
        assert self._process.stdin
        print(what, file=self._process.stdin, flush=True)

    def seconds(self) -> float:
        """Wait for it; return its seconds."""
        return float(json.loads(self._line()))

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError("a measured process has ended: its error is above")
        return line


def work(options: Any) -> None:
    """Do what each line of stdin names; print the seconds, after one unmeasured round."""
    silence_libraries()
    import torch

    from personakit.models.cpu import bfloat16_units, cpu_name
    from personakit.models.local import LocalModel
    from personakit.models.open import resolve_model

    model = LocalModel.load(resolve_model(options.model), device="cpu")
    model.__dict__["_end_ids"] = frozenset()
    drawn = random.Random(0)
    prompts = [
        f"Write a headline {number}: " + " ".join(drawn.choice(WORDS) for _ in range(100 + 5 * number))
        for number in range(16)
    ]
    answers = ["Storm batters the coast of the city"] * len(prompts)

    def do(what: str) -> None:
        if what == WORK[2]:
            model.score(prompts, answers)
        else:
            rows = 1 if what == WORK[0] else 16
            model.generate(prompts[:rows], max_new_tokens=options.new_tokens)

    for what in WORK:
        do(what)
    print(
        f"{Path(options.model).name} in {model.dtype} on {cpu_name()} "
        f"({', '.join(bfloat16_units()) or 'no bfloat16 units'}), "
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}",
        flush=True,
    )
    for line in sys.stdin:
        began = time.perf_counter()
        do(line.strip())
        print(json.dumps(time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main()
