"""Scoring many summaries against many preference pairs, as POPI's reward does.

    python benchmarks/summary_scoring.py [--shapes 256,64,8 ...] [--pairs 8] [--question 32]

Shapes are P,C,G: tokens of a summary's prompt, of an answer, and summaries; each is scored on the same
`--pairs` pairs: a question and its two answers. Stock is a padded batch through transformers, the head
on the answers' positions only; shared is `LocalModel.score`: one trie of summaries, questions and
answers. Both take 32 rows or as many tokens at a time. "limit" is the padded tokens over those needed.
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
    (256, 64, 4),
    (256, 64, 8),
    (256, 64, 16),
    (1024, 64, 8),
    (1024, 256, 8),
    (4096, 64, 4),
)
ROWS = 32


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--pairs", type=int, default=8, help="pairs a summary is scored on (default 8)")
    options.add_argument("--question", type=int, default=32, help="tokens of a pair's question (default 32)")
    options = options.parse_args()
    begin()
    rows = []
    for shape in shapes(options, SHAPES):
        prompt, answer, group = shape
        longest = prompt + options.question + answer + 1
        with tempfile.TemporaryDirectory() as folder:
            model = make_model(Path(folder) / "model", options.family, options.size, longest)
            prompts, answers = summaries(shape, options)
            step = {side: Scorer(side, model, longest, prompts, answers, options) for side in SIDES}
            if options.only:
                peak = PeakMemory()
                peak.begin()
                step[options.only]()
                print(json.dumps({"peak": peak.end()}))
                return
            taken = take_turns(step, options.turns)
        needed = group * (prompt + options.pairs * (options.question + 2 * (answer + 1)))
        limit = len(prompts) * longest / needed
        scores = {side: step[side].scores for side in SIDES}
        off = max(abs(a - b) / abs(b) for a, b in zip(*scores.values(), strict=True))
        memory = [peak_in_child(side, shape) for side in SIDES] if options.memory else []
        rows.append((*shape, limit, *ratio(taken, "step"), off, *memory))
        print(*(f"{value:.3g}" for value in rows[-1]), flush=True)
    header = ["P", "C", "G", "limit", "stock s", "shared s", "faster", "scores differ"]
    header += ["peak GB stock", "shared"] if options.memory else []
    title = f"Summary scoring, {options.pairs} pairs with questions of {options.question}"
    print_table(options, title, header, rows)


def summaries(shape: tuple[int, ...], options: Any) -> tuple[list[str], list[str]]:
    """Prompts (summary and question) and answers, one of each a row."""
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
    """Scores all rows; keeps the scores."""

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

    def __call__(self) -> dict[str, float]:
        """Do it once; its seconds."""
        began = time.perf_counter()
        if self._side == "shared":
            self.scores = self._model.score(self._prompts, self._answers)
        else:
            self.scores = self._stock()
        return {"step": time.perf_counter() - began}

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
