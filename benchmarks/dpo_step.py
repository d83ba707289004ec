"""A DPO step of TRL's trainer, including the reference pass: stock against shared prefixes.

    python benchmarks/dpo_step.py [--shapes 1024,64 ...] [--memory] [--lora] [--checkpointing]

A shape is P,C: tokens of the prompt, and of the chosen and of the rejected answer. `--pairs` is the number of
pairs per step. "limit" is the padded batch's tokens divided by the tokens needed. All weights are trained,
with a second model as reference, as in TRL; with `--lora` the reference is the base model without adapter.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from _side_by_side import (
    Comparison,
    TrainerSide,
    begin,
    compare,
    gpu_header,
    largest_difference,
    letters,
    parser,
    ratio,
    use_of_gpu,
)

SHAPES = ((16, 256), (256, 64), (1024, 64), (1024, 256), (4096, 64))


def main() -> None:
    options = parser(__doc__, trains=True)
    options.add_argument("--pairs", type=int, help="pairs a step (default 8; 2 from P = 4096 on)")
    chosen = options.parse_args()
    begin()

    def row(shape: Any, model: Path, sides: Any, taken: Any) -> tuple[Any, ...]:
        prompt, answer = shape
        dense, needed = 2 * (prompt + answer), prompt + 2 * answer
        step, pairs = ratio(taken, "step"), pairs_of(chosen, prompt)
        off = largest_difference({side: sides[side].losses for side in sides})
        gpu = use_of_gpu(chosen, model, prompt + answer, pairs * dense, pairs * needed, step[:2])
        return (dense / needed, *step, off, *gpu)

    header = ["P", "C", "limit", "step stock s", "shared s", "faster", "losses differ"]
    comparison = Comparison(
        title="DPO step",
        header=[*header, *gpu_header(chosen)],
        longest=lambda shape: shape[0] + shape[1] + 1,
        build=lambda side, model, shape: dpo(side, model, shape, chosen),
        row=row,
    )
    compare(comparison, options, chosen, SHAPES)


def dpo(side: str, model: Path, shape: tuple[int, ...], options: Any) -> TrainerSide:
    """TRL's DPO trainer on synthetic pairs."""
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
    """Pairs per step."""
    return int(options.pairs or (8 if prompt < 4096 else 2))


if __name__ == "__main__":
    main()
