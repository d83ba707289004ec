"""A GRPO step of TRL's trainer: stock against shared prefixes.

    python benchmarks/grpo_step.py [--shapes 1024,64,8 ...] [--memory] [--lora] [--checkpointing]

A shape is P,C,G: tokens of a prompt, tokens of an answer, answers per prompt; `--prompts` is the number of
prompts per step. Columns: the forward and backward pass of the update, the whole step with generation, and
the speed-up of each; "limit" is the padded batch's tokens divided by the tokens needed.
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

SHAPES = (
    (16, 256, 8),
    (256, 64, 8),
    (1024, 16, 8),
    (1024, 64, 4),
    (1024, 64, 8),
    (1024, 64, 16),
    (1024, 256, 8),
    (4096, 64, 8),
)


def main() -> None:
    options = parser(__doc__, trains=True)
    options.add_argument("--prompts", type=int, help="prompts a step (default 2; 1 from P = 4096 on)")
    chosen = options.parse_args()
    begin()

    def row(shape: Any, model: Path, sides: Any, taken: Any) -> tuple[Any, ...]:
        prompt, answer, group = shape
        dense, needed = group * (prompt + answer), prompt + group * answer
        update, prompts = ratio(taken, "update"), prompts_of(chosen, prompt)
        off = largest_difference({side: sides[side].norms for side in sides})
        gpu = use_of_gpu(chosen, model, prompt + answer, prompts * dense, prompts * needed, update[:2])
        return (dense / needed, *update, *ratio(taken, "step"), off, *gpu)

    three = ["stock s", "shared s", "faster"]
    header = ["P", "C", "G", "limit", f"update {three[0]}", *three[1:], f"step {three[0]}", *three[1:]]
    comparison = Comparison(
        title="GRPO step",
        header=[*header, "gradient norms differ", *gpu_header(chosen)],
        longest=lambda shape: shape[0] + shape[1],
        build=lambda side, model, shape: grpo(side, model, shape, chosen),
        row=row,
    )
    compare(comparison, options, chosen, SHAPES)


def grpo(side: str, model: Path, shape: tuple[int, ...], options: Any) -> TrainerSide:
    """TRL's GRPO trainer on synthetic prompts with a synthetic reward."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    prompt, answer, group = shape
    drawn = random.Random(0)
    return TrainerSide(
        side,
        model,
        options,
        GRPOTrainer,
        GRPOConfig,
        Dataset.from_dict({"prompt": [letters(drawn, prompt) for _ in range(64)]}),
        {
            "per_device_train_batch_size": prompts_of(options, prompt) * group,
            "num_generations": group,
            "max_completion_length": answer,
            # No answer ends early, so that every step has the same tokens.
            "generation_kwargs": {"min_new_tokens": answer},
            "learning_rate": 1e-5,
            "beta": 0.0,
        },
        reward_funcs=lambda completion_ids, **_: [float(sum(ids) % 17) for ids in completion_ids],
    )


def prompts_of(options: Any, prompt: int) -> int:
    """Prompts per step."""
    return int(options.prompts or (2 if prompt < 4096 else 1))


if __name__ == "__main__":
    main()
