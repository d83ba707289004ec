"""Train RPO and POPI, and evaluate both on LaMP in one table: same users, same queries.

    python examples/compare_methods.py                   # seconds: a few steps of the tiny model nano
    python examples/compare_methods.py --full            # the default configurations
    python examples/compare_methods.py --run A --run B   # runs you have

Runs of one method that differ only in their seed become one row, with intervals over users and seeds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import personakit

SHORT = {
    "rpo": ("stages=sft", "sft.max_steps=3", "data.limit=16", "controls.fine_tuned_context_injection=false"),
    "popi": (
        *("warm_start.max_steps=1", "joint.max_steps=1", "data.limit=32", "data.held_out=0"),
        *("controls.population_dpo=false", "controls.raw_dpo=false"),
    ),
}


def main() -> None:
    """Train, unless runs are given; evaluate; print the primary figures and the wrong-user tests."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, action="append", default=[], help="a finished run; repeatable")
    parser.add_argument("--full", action="store_true", help="train with the default configurations")
    parser.add_argument("--limit", type=int, default=4, help="queries of each task")
    parser.add_argument("--task", action="append", help="a task such as LaMP_7; repeatable; default all")
    arguments = parser.parse_args()

    runs = arguments.run or [
        personakit.train(method)
        if arguments.full
        else personakit.train(method, config="nano", overrides=short)
        for method, short in SHORT.items()
    ]
    results = personakit.evaluate(
        "lamp",
        runs=runs,
        limit=arguments.limit,
        task=arguments.task,
        baselines=["generic", "context", "empty", "other"],
    )
    for row in results["rows"]:
        if row["metric"] == "primary":
            score = f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
            print(f"{row['method']:32} {score}  {row['context_tokens']:5.1f} context tokens")
    for test in results["wrong_user"]:
        print(f"wrong-user test of {test['right']}: {'passed' if test['holds'] else 'failed'}")


if __name__ == "__main__":
    main()
