"""A DPO step under TRL's own trainer, reference pass included, as it comes and with shared prefixes.

    python benchmarks/dpo_step.py [--shapes 1024,64 ...] [--memory] [--lora] [--checkpointing]

Shapes are P,C: tokens of a prompt, and of its chosen and of its rejected answer. `--pairs` make a
step. "limit" is the tokens of the padded batch over those that are needed. All weights train, and the
reference is a second model, as TRL has it; with `--lora` it is the base with its adapter off.
"""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

from _side_by_side import (
    SIDES,
    PeakMemory,
    TrainerSide,
    begin,
    gpu_header,
    letters,
    make_model,
    parser,
    peak_in_child,
    print_table,
    ratio,
    shapes,
    take_turns,
    use_of_gpu,
)

SHAPES = ((16, 256), (256, 64), (1024, 64), (1024, 256), (4096, 64))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--pairs", type=int, help="pairs a step (default 8; 2 from P = 4096 on)")
    options = options.parse_args()
    begin()
    rows = []
    for shape in shapes(options, SHAPES):
        prompt, answer = shape
        with tempfile.TemporaryDirectory() as folder:
            model = make_model(Path(folder) / "model", options.family, options.size, prompt + answer + 1)
            if options.only:
                peak = PeakMemory()
                side = dpo(options.only, model, shape, options)
                peak.begin()
                side.step()
                side.step()
                print(json.dumps({"peak": peak.end()}))
                return
            sides = {side: dpo(side, model, shape, options) for side in SIDES}
            taken = take_turns({side: sides[side].step for side in SIDES}, options.turns)
            step, row, pairs = ratio(taken, "step"), prompt + answer, pairs_of(options, prompt)
            gpu = use_of_gpu(options, model, row, 2 * pairs * row, pairs * (row + answer), step[:2])
        off = max(abs(a - b) / b for a, b in zip(*(sides[side].losses for side in SIDES), strict=True))
        memory = [peak_in_child(side, shape) for side in SIDES] if options.memory else []
        limit = 2 * (prompt + answer) / (prompt + 2 * answer)
        rows.append((*shape, limit, *step, off, *gpu, *memory, *(_share(memory))))
        print(*(f"{value:.3g}" for value in rows[-1]), flush=True)
    header = ["P", "C", "limit", "step stock s", "shared s", "faster", "losses differ", *gpu_header(options)]
    header += ["peak GB stock", "shared", "share"] if options.memory else []
    print_table(options, "DPO step", header, rows)


def dpo(side: str, model: Path, shape: tuple[int, ...], options: Any) -> TrainerSide:
    """TRL's DPO trainer over made-up pairs."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    prompt, answer = shape
    drawn = random.Random(0)
    prompts = [letters(drawn, prompt) for _ in range(64)]
    pairs = {
        "prompt": prompts,
        "chosen": [letters(drawn, answer - 1) for _ in prompts],
        "rejected": [letters(drawn, answer - 1) for _ in prompts],
    }
    return TrainerSide(
        side,
        model,
        options,
        DPOTrainer,
        DPOConfig,
        Dataset.from_dict(pairs),
        {
            "per_device_train_batch_size": pairs_of(options, prompt),
            "beta": 0.1,
            "max_length": None,
            "learning_rate": 1e-4,
        },
    )


def pairs_of(options: Any, prompt: int) -> int:
    """Pairs a step."""
    return int(options.pairs or (8 if prompt < 4096 else 2))


def _share(memory: list[float]) -> tuple[float, ...]:
    return (memory[1] / memory[0],) if memory else ()


if __name__ == "__main__":
    main()
