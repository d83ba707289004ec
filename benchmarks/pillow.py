"""PILLOW against its controls on lamp-mini's test instructions, several training seeds; see docs/pillow.md.

    python benchmarks/pillow.py [--seeds 5] [--split test] [--name pillow] [KEY=VALUE]

Trains one run per seed, `--jobs` in parallel on one thread each, then evaluates all of them as one row. A
stopped benchmark is resumed. `--data` is another folder of instructions than lamp-mini, with `--config`.
The table is printed and written to benchmarks/results/NAME.txt.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from _runs import personakit, train

from personakit.files import write_text

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Train, evaluate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, help="at most this many instructions")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--config", default="nano", help="as in personakit train pillow")
    parser.add_argument("--data", default="lamp-mini", help="a folder of instructions")
    parser.add_argument("--name", default="pillow", help="of the file with the table")
    parser.add_argument(
        "--no-variants", action="store_true", help="leave out other numbers and orders of prompts"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings of personakit train pillow"
    )
    options = parser.parse_args()
    folder = options.output / options.name
    config = ["--config", options.config]
    settings = [*config, f"data.path={options.data}", *options.overrides]
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = list(
            pool.map(
                lambda seed: train("pillow", folder / f"seed-{seed}", [*settings, f"seed={seed}"]),
                range(options.seeds),
            )
        )
    evaluation = folder / f"eval-{options.split}-{options.seeds}"
    begun = (evaluation / "samples.jsonl").exists()
    table = personakit(
        "eval",
        "instruction",
        *(part for run in runs for part in ("--run", str(run))),
        *(("--limit", str(options.limit)) if options.limit else ()),
        *(("--no-variants",) if options.no_variants else ()),
        "--split",
        options.split,
        "--output",
        str(evaluation),
        *(["--resume"] if begun else []),
    )
    print(table)
    # The last line is the evaluation's folder, which is nobody else's.
    write_text(RESULTS / f"{options.name}.txt", "\n".join(table.splitlines()[:-1]) + "\n")


if __name__ == "__main__":
    main()
