"""Answering many questions of users with long histories, as in an evaluation: stock against shared prefixes.

    python benchmarks/evaluation_generation.py [--shapes 1024,64,8 ...] [--users 2] [--question 32]

A shape is P,C,G: tokens of a user's history, tokens of an answer, and questions per user; the history
precedes the question in the prompt. Greedy decoding, all prompts in one batch on both sides: stock is
`transformers.generate`, shared is `LocalModel.generate`. "limit" is the prompt tokens of the padded batch
divided by the tokens needed (decoding reads fewer, too).
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from _side_by_side import Clock, Comparison, begin, compare, letters, on_cuda, parser, ratio

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
    options = parser(__doc__, trains=False)
    options.add_argument("--users", type=int, default=2, help="users in the batch (default 2)")
    options.add_argument("--question", type=int, default=32, help="tokens of a question (default 32)")
    chosen = options.parse_args()
    begin()

    def build(side: str, model: Path, shape: tuple[int, ...]) -> Answerer:
        prompt, answer, group = shape
        drawn = random.Random(0)
        prompts = [
            history + letters(drawn, chosen.question)
            for history in (letters(drawn, prompt) for _ in range(chosen.users))
            for _ in range(group)
        ]
        return Answerer(side, model, prompts, answer, chosen)

    def row(shape: Any, model: Path, sides: Any, taken: Any) -> tuple[Any, ...]:
        prompt, _, group = shape
        limit = group * (prompt + chosen.question) / (prompt + group * chosen.question)
        stock, shared = (side.answers for side in sides.values())
        same = sum(a == b for a, b in zip(stock, shared, strict=True)) / len(stock)
        return (limit, *ratio(taken, "step"), same)

    comparison = Comparison(
        title=f"Evaluation generation, {chosen.users} users",
        header=["P", "C", "G", "limit", "stock s", "shared s", "faster", "equal answers"],
        longest=lambda shape: shape[0] + chosen.question + shape[1],
        build=build,
        row=row,
    )
    compare(comparison, options, chosen, SHAPES)


class Answerer:
    """Answers all prompts and keeps the answers."""

    def __init__(self, side: str, model: Path, prompts: list[str], new_tokens: int, options: Any) -> None:
        device = "cuda" if on_cuda(options) else "cpu"
        self._model = LocalModel.load(str(model), device=device, batch_tokens=2**30, batch_rows=2**20)
        self._side, self._prompts, self._new_tokens = side, prompts, new_tokens
        self.answers: list[str] = []

    def step(self) -> dict[str, float]:
        """Answer once; return the seconds."""
        clock = Clock()
        with clock.timing("step"):
            if self._side == "shared":
                rows = self._model.generate(self._prompts, max_new_tokens=self._new_tokens)
                self.answers = [row[0] for row in rows]
            else:
                self.answers = self._stock()
        return clock.take()

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
