"""A GRPO step under TRL's own trainer, as it comes and with shared prefixes.

    python benchmarks/grpo_step.py [--shapes 1024,64,8 ...] [--memory] [--lora] [--checkpointing]

Shapes are P,C,G: tokens of a prompt, of an answer, answers a prompt; `--prompts` of them make a step.
Columns: the forward and backward pass of the update, the whole step with generation, and how much
faster each is; "limit" is the tokens of the padded batch over those that are needed.
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
    options = parser(__doc__)
    options.add_argument("--prompts", type=int, help="prompts a step (default 2; 1 from P = 4096 on)")
    options = options.parse_args()
    begin()
    rows = []
    for shape in shapes(options, SHAPES):
        prompt, answer, group = shape
        with tempfile.TemporaryDirectory() as folder:
            model = make_model(Path(folder) / "model", options.family, options.size, prompt + answer)
            if options.only:
                peak = PeakMemory()
                side = grpo(options.only, model, shape, options)
                peak.begin()
                side.step()
                side.step()
                print(json.dumps({"peak": peak.end()}))
                return
            sides = {side: grpo(side, model, shape, options) for side in SIDES}
            taken = take_turns({side: sides[side].step for side in SIDES}, options.turns)
            needed = prompt + group * answer
            update, step = ratio(taken, "update"), ratio(taken, "step")
            prompts, row = prompts_of(options, prompt), prompt + answer
            runs = (prompts * group * row, prompts * needed)
            gpu = use_of_gpu(options, model, row, *runs, update[:2])
        off = max(abs(a - b) / b for a, b in zip(*(sides[side].norms for side in SIDES), strict=True))
        memory = [peak_in_child(side, shape) for side in SIDES] if options.memory else [0.0, 0.0]
        rows.append(
            (*shape, group * (prompt + answer) / needed, *update, *step, off)
            + gpu
            + ((*memory, memory[1] / memory[0]) if options.memory else ())
        )
        print(*(f"{value:.3g}" for value in rows[-1]), flush=True)
    header = [
        "P",
        "C",
        "G",
        "limit",
        "update stock s",
        "shared s",
        "faster",
        "step stock s",
        "shared s",
        "faster",
    ]
    header += ["gradient norms differ", *gpu_header(options)] + (
        ["peak GB stock", "shared", "share"] if options.memory else []
    )
    print_table(options, "GRPO step", header, rows)


def grpo(side: str, model: Path, shape: tuple[int, ...], options: Any) -> TrainerSide:
    """TRL's GRPO trainer over made-up prompts, with a made-up reward."""
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
    """Prompts a step."""
    return int(options.prompts or (2 if prompt < 4096 else 1))


if __name__ == "__main__":
    main()
