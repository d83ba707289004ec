"""RPO against its controls on lamp-mini's test users, several training seeds; see docs/rpo.md.

    python benchmarks/rpo.py [--config NAME] [--data-seed 2026] [--unseen MODEL] [--name rpo] [KEY=VALUE]

Trains one run per seed, `--jobs` in parallel on one thread each (two trainings with two threads each on two
cores are many times slower), then evaluates all of them as one row. A stopped benchmark is resumed.
`--data-seed` generates the benchmark from another seed, `--unseen` adds stand-ins of MODEL as base models
that the rewriter was not trained with. The controls of RL are trained too; `stages=sft` leaves out RL and
these. The table is printed and written to benchmarks/results/NAME-DATASEED.txt.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from _runs import personakit, train

from personakit.files import write_text

RESULTS = Path(__file__).parent / "results"
#: Black boxes the rewriter never sees in training (personakit/models/stand_ins.py).
STAND_INS = ("terse", "wordy", "noisy")
#: What RL is set against, where there is RL; a plain `train rpo` leaves them out.
CONTROLS = ("controls.sft_continued=true", "controls.without_curriculum=true")


def main() -> None:
    """Train, evaluate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data-seed", type=int, default=2026)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--split", default="test")
    parser.add_argument("--unseen", metavar="MODEL", help=f"behind MODEL:{', MODEL:'.join(STAND_INS)} too")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--config", default="nano", help="as in personakit train rpo")
    parser.add_argument("--name", default="rpo", help="of the file with the table")
    parser.add_argument("--limit", type=int, help="at most this many users a task")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of personakit train rpo")
    options = parser.parse_args()
    folder = options.output / options.name / f"data-{options.data_seed}"
    data = folder / "lamp-mini"
    config = ["--config", options.config]
    if not data.is_dir():
        personakit("data", "make", str(data), "--seed", str(options.data_seed))
    controls = () if "stages=sft" in options.overrides else CONTROLS
    unseen = STAND_INS if options.unseen else ()
    settings = [*config, f"data.path={data}", *controls, *options.overrides]
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = list(
            pool.map(
                lambda seed: train("rpo", folder / f"seed-{seed}", [*settings, f"seed={seed}"]),
                range(options.seeds),
            )
        )
    evaluation = folder / f"eval-{options.split}"
    begun = (evaluation / "samples.jsonl").exists()
    table = personakit(
        "eval",
        "lamp",
        *(part for run in runs for part in ("--run", str(run))),
        *(part for kind in unseen for part in ("--base", f"{options.unseen}:{kind}")),
        *(("--limit", str(options.limit)) if options.limit else ()),
        "--split",
        options.split,
        "--output",
        str(evaluation),
        *(["--resume"] if begun else []),
    )
    print(table)
    # The last line is the evaluation's folder, which is nobody else's.
    write_text(RESULTS / f"{options.name}-{options.data_seed}.txt", "\n".join(table.splitlines()[:-1]) + "\n")


if __name__ == "__main__":
    main()
