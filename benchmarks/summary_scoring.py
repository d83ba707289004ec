"""Scoring many summaries against many preference pairs, as POPI's reward does: stock against shared prefixes.

    python benchmarks/summary_scoring.py [--shapes 256,64,8 ...] [--pairs 8] [--question 32]

A shape is P,C,G: tokens of a summary's prompt, tokens of an answer, and number of summaries. Each summary is
scored on the same `--pairs` pairs, which are a question and two answers. Stock is a padded batch through
transformers, with logits at the answers' positions only; shared is `LocalModel.score`, with one trie of
summaries, questions and answers. Both process 32 rows at a time, or as many tokens. "limit" is the padded
batch's tokens divided by the tokens needed.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from _side_by_side import (
    Clock,
    Comparison,
    begin,
    compare,
    largest_difference,
    letters,
    on_cuda,
    parser,
    ratio,
)

from personakit.models.local import LocalModel

SHAPES = (
    (256, 16, 8),
    (256, 64, 4),
    (256, 64, 8),
    (256, 64, 16),
    (1024, 64, 8),
    (1024, 256, 8),
    (4096, 64, 4),
)
ROWS = 32


def main() -> None:
    options = parser(__doc__, trains=False)
    options.add_argument("--pairs", type=int, default=8, help="pairs a summary is scored on (default 8)")
    options.add_argument("--question", type=int, default=32, help="tokens of a pair's question (default 32)")
    chosen = options.parse_args()
    begin()

    def longest(shape: tuple[int, ...]) -> int:
        return shape[0] + chosen.question + shape[1] + 1

    def row(shape: Any, model: Path, sides: Any, taken: Any) -> tuple[Any, ...]:
        prompt, answer, group = shape
        needed = group * (prompt + chosen.pairs * (chosen.question + 2 * (answer + 1)))
        dense = group * chosen.pairs * 2 * longest(shape)
        off = largest_difference({side: sides[side].scores for side in sides})
        return (dense / needed, *ratio(taken, "step"), off)

    comparison = Comparison(
        title=f"Summary scoring, {chosen.pairs} pairs with questions of {chosen.question}",
        header=["P", "C", "G", "limit", "stock s", "shared s", "faster", "scores differ"],
        longest=longest,
        build=lambda side, model, shape: Scorer(
            side, model, longest(shape), *summaries(shape, chosen), chosen
        ),
        row=row,
    )
    compare(comparison, options, chosen, SHAPES)


def summaries(shape: tuple[int, ...], options: Any) -> tuple[list[str], list[str]]:
    """Prompts (summary and question) and answers, one of each per row."""
    prompt, answer, group = shape
    drawn = random.Random(0)
    pairs = [
        (letters(drawn, options.question), [letters(drawn, answer) for _ in range(2)])
        for _ in range(options.pairs)
    ]
    prompts, answers = [], []
    for _ in range(group):
        summary = letters(drawn, prompt)
        for question, both in pairs:
            for each in both:
                prompts.append(summary + question)
                answers.append(each)
    return prompts, answers


class Scorer:
    """Scores all rows and keeps the scores."""

    def __init__(
        self, side: str, model: Path, longest: int, prompts: list[str], answers: list[str], options: Any
    ) -> None:
        device = "cuda" if on_cuda(options) else "cpu"
        self._model = LocalModel.load(
            str(model),
            device=device,
            batch_tokens=ROWS * longest,
            batch_rows=2**20 if side == "shared" else ROWS,
        )
        self._side, self._prompts, self._answers = side, prompts, answers
        self.scores: list[float] = []

    def step(self) -> dict[str, float]:
        """Score once; return the seconds."""
        clock = Clock()
        with clock.timing("step"):
            if self._side == "shared":
                self.scores = self._model.score(self._prompts, self._answers)
            else:
                self.scores = self._stock()
        return clock.take()

    def _stock(self) -> list[float]:
        import torch

        network, tokenizer = self._model.model, self._model.tokenizer
        scores: list[float] = []
        for start in range(0, len(self._prompts), ROWS):
            prompts = tokenizer(self._prompts[start : start + ROWS], padding=True, return_tensors="pt")
            answers = tokenizer(
                [answer + "<eos>" for answer in self._answers[start : start + ROWS]],
                padding=True,
                padding_side="right",
                return_tensors="pt",
            )
            ids = torch.cat([prompts["input_ids"], answers["input_ids"]], 1).to(network.device)
            mask = torch.cat([prompts["attention_mask"], answers["attention_mask"]], 1).to(network.device)
            kept = answers["input_ids"].shape[1] + 1
            with torch.inference_mode():
                logits = (
                    network(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=kept)
                    .logits[:, :-1]
                    .float()
                )
            targets = ids[:, 1 - kept :]
            chosen = logits.gather(-1, targets[..., None]).squeeze(-1) - logits.logsumexp(-1)
            scores += chosen.masked_fill(mask[:, 1 - kept :] == 0, 0).sum(-1).tolist()
        return scores


if __name__ == "__main__":
    main()
