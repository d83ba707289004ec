"""POPI against its controls on lamp-mini's test users, several training seeds; see docs/popi.md.

    python benchmarks/popi.py [--seeds 5] [--data-seed 2026] [--split test] [--limit N] [--base MODEL]

Trains one run per seed with its controls (population DPO, POPI with a frozen generator), `--jobs` in parallel
on one thread each, then evaluates all of them as one row, and frozen models (`--base`, by default nano) with
POPI's summaries. A stopped benchmark is resumed. The table is printed and written to
benchmarks/results/NAME-DATASEED.txt.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from _runs import personakit, train

from personakit.data.folders import LAMP_MINI
from personakit.data.lamp_mini import STANDARD_SEED
from personakit.files import write_text

RESULTS = Path(__file__).parent / "results"
#: What POPI is set against; a plain `train popi` leaves them out.
CONTROLS = tuple(f"controls.{name}=true" for name in ("population_dpo", "raw_dpo", "frozen_generator"))


def main() -> None:
    """Train, evaluate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data-seed", type=int, default=STANDARD_SEED)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--split", default="test")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--config", default="nano", help="as in personakit train popi")
    parser.add_argument("--name", default="popi", help="of the file with the table")
    parser.add_argument("--base", action="append", help="a frozen model that is given POPI's summaries")
    parser.add_argument("--limit", type=int, help="at most this many users")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of personakit train popi")
    options = parser.parse_args()
    folder = options.output / options.name / f"data-{options.data_seed}"
    data = folder / "lamp-mini" if options.data_seed != STANDARD_SEED else Path(LAMP_MINI)
    if options.data_seed != STANDARD_SEED and not data.is_dir():
        personakit("data", "make", str(data), "--seed", str(options.data_seed))
    config = ["--config", options.config]
    settings = [*config, f"data.path={data}", *CONTROLS, *options.overrides]
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = list(
            pool.map(
                lambda seed: train("popi", folder / f"seed-{seed}", [*settings, f"seed={seed}"]),
                range(options.seeds),
            )
        )
    evaluation = folder / f"eval-{options.split}"
    begun = (evaluation / "samples.jsonl").exists()
    table = personakit(
        "eval",
        "preference",
        *(part for run in runs for part in ("--run", str(run))),
        *(part for base in options.base or ["nano"] for part in ("--base", base)),
        *(("--limit", str(options.limit)) if options.limit else ()),
        *("--split", options.split, "--output", str(evaluation)),
        *(["--resume"] if begun else []),
    )
    print(table)
    # The last line is the evaluation's folder, which is nobody else's.
    write_text(RESULTS / f"{options.name}-{options.data_seed}.txt", "\n".join(table.splitlines()[:-1]) + "\n")


if __name__ == "__main__":
    main()
