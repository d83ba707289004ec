"""Time that PILLOW's matching network takes to select prompts, after encoding, on one core.

    python benchmarks/matching.py

A network of the default size over vectors of 512 selects two and four prompts, one query at a time; the pool
is already encoded and has passed its tower, which happens once. The median of 200 queries, in milliseconds.
Writes benchmarks/results/matching.md.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import torch

from personakit.files import write_text
from personakit.pillow.network import MatcherShape, MatchingNetwork
from personakit.pillow.policy import draw

RESULTS = Path(__file__).parent / "results" / "matching.md"
WIDTH, QUERIES = 512, 200


def main() -> None:
    torch.set_num_threads(1)
    rows = [
        f"| {size:,} | {milliseconds(size, 2):.2f} | {milliseconds(size, 4):.2f} |"
        for size in (100, 1_000, 10_000)
    ]
    lines = ["| prompts in the pool | ms a query, m=2 | ms a query, m=4 |", "|---|---|---|", *rows]
    print("\n".join(lines))
    write_text(RESULTS, "\n".join(lines) + "\n")


def milliseconds(size: int, m: int) -> float:
    """Return the median CPU time over queries, which other processes hardly affect."""
    network = MatchingNetwork(MatcherShape(width=WIDTH, m=m)).eval()
    draws = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        pool = network.pool(torch.randn(size, WIDTH, generator=draws))
    allowed = torch.ones(1, size, dtype=torch.bool)
    taken = []
    for _ in range(QUERIES):
        asked = torch.randn(1, WIDTH, generator=draws)
        began = time.process_time()
        draw(network, asked, pool, allowed)
        taken.append(time.process_time() - began)
    return 1000 * statistics.median(taken)


if __name__ == "__main__":
    main()
