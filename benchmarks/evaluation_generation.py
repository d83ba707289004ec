"""Answering many questions of users with long histories, as an evaluation does.

    python benchmarks/evaluation_generation.py [--shapes 1024,64,8 ...] [--users 4] [--question 32]

Shapes are P,C,G: tokens of a user's history, of an answer, and questions a user; the history stands
before the question in the prompt. Greedy decoding, all prompts in one batch on both sides: stock is
`transformers.generate`, shared is `LocalModel.generate`. "limit" is the prompt tokens of the padded batch
over those needed (decoding reads less, too).
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from _side_by_side import (
    SIDES,
    PeakMemory,
    begin,
    letters,
    make_model,
    on_cuda,
    parser,
    peak_in_child,
    print_table,
    ratio,
    shapes,
    take_turns,
)

from personakit.models.local import LocalModel

SHAPES = (
    (256, 16, 8),
    (256, 64, 8),
    (1024, 16, 8),
    (1024, 64, 4),
    (1024, 64, 8),
    (1024, 64, 16),
    (4096, 64, 8),
)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--users", type=int, default=2, help="users in the batch (default 2)")
    options.add_argument("--question", type=int, default=32, help="tokens of a question (default 32)")
    options = options.parse_args()
    begin()
    rows = []
    for shape in shapes(options, SHAPES):
        prompt, answer, group = shape
        longest = prompt + options.question + answer
        with tempfile.TemporaryDirectory() as folder:
            model = make_model(Path(folder) / "model", options.family, options.size, longest)
            drawn = random.Random(0)
            prompts = [
                history + letters(drawn, options.question)
                for history in (letters(drawn, prompt) for _ in range(options.users))
                for _ in range(group)
            ]
            step = {side: Answerer(side, model, prompts, answer, options) for side in SIDES}
            if options.only:
                peak = PeakMemory()
                peak.begin()
                step[options.only]()
                print(json.dumps({"peak": peak.end()}))
                return
            taken = take_turns(step, options.turns)
        limit = group * (prompt + options.question) / (prompt + group * options.question)
        same = sum(a == b for a, b in zip(*(step[side].answers for side in SIDES), strict=True)) / len(
            prompts
        )
        memory = [peak_in_child(side, shape) for side in SIDES] if options.memory else []
        rows.append((*shape, limit, *ratio(taken, "step"), same, *memory))
        print(*(f"{value:.3g}" for value in rows[-1]), flush=True)
    header = ["P", "C", "G", "limit", "stock s", "shared s", "faster", "equal answers"]
    header += ["peak GB stock", "shared"] if options.memory else []
    print_table(options, f"Evaluation generation, {options.users} users", header, rows)


class Answerer:
    """Answers all prompts; keeps the answers."""

    def __init__(self, side: str, model: Path, prompts: list[str], new_tokens: int, options: Any) -> None:
        device = "cuda" if on_cuda(options) else "cpu"
        self._model = LocalModel.load(str(model), device=device, batch_tokens=2**30, batch_rows=2**20)
        self._side, self._prompts, self._new_tokens = side, prompts, new_tokens
        self.answers: list[str] = []

    def __call__(self) -> dict[str, float]:
        """Do it once; its seconds."""
        began = time.perf_counter()
        if self._side == "shared":
            self.answers = [
                row[0] for row in self._model.generate(self._prompts, max_new_tokens=self._new_tokens)
            ]
        else:
            self.answers = self._stock()
        return {"step": time.perf_counter() - began}

    def _stock(self) -> list[str]:
        import torch

        network, tokenizer = self._model.model, self._model.tokenizer
        batch = tokenizer(self._prompts, padding=True, return_tensors="pt").to(network.device)
        with torch.inference_mode():
            rows = network.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=self._new_tokens,
                do_sample=False,
            )
        return tokenizer.batch_decode(
            rows[:, batch["input_ids"].shape[1] :],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )


if __name__ == "__main__":
    main()
