"""Requests of several runs on one base model: a batch of each run's against one mixed batch of PEFT.

    python benchmarks/mixed_adapters.py [--model smollm2] [--tokens 16] [--turns 3]

The service answers requests of one run at a time (`personakit.serving.batching`). PEFT can give each row of a
batch an adapter of its own (`adapter_names`), and then computes each adapter for its rows, and no shared
prefixes. Both ways decode the same prompts greedily; those of a run begin alike, as those of rewrites do. One
thread, and CPU seconds instead of wall clock. The adapters are random (LoRA of rank 32 on all linear layers).
Answers that are equal are counted: in bfloat16, close choices depend on the batch. The table is printed and
written to benchmarks/results/mixed_adapters.md.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from personakit.files import write_text
from personakit.models.environment import hide_loading_bars, suppress_peft_warnings
from personakit.popi.adapters import active_adapter

_RESULTS = Path(__file__).parent / "results" / "mixed_adapters.md"
_SHAPES = ((4, 1), (2, 4), (2, 8))  # runs, requests of each
_WORDS = "marsh heron late train coffee again hurrah sorry cheers meeting Tuesday weather rain bicycle"


def main() -> None:
    """Measure all shapes and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--tokens", type=int, default=16, help="new tokens of an answer")
    parser.add_argument("--turns", type=int, default=2, help="the fastest of so many counts")
    options = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"OMP_NUM_THREADS": "1"})
    hide_loading_bars()
    model, tokenizer = with_adapters(options.model, max(runs for runs, _ in _SHAPES))
    lines = [
        "| runs | requests of each | separate s | mixed s | mixed / separate | equal |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for runs, requests in _SHAPES:
        lines.append(row(model, tokenizer, runs, requests, options))
        print(lines[-1], file=sys.stderr, flush=True)
    about = f"{options.model}, {model.dtype}, {options.tokens} new tokens; {platform.machine()}, one thread."
    write_text(_RESULTS, "\n".join(lines) + f"\n\n{about}\n")
    print(_RESULTS.read_text(encoding="utf-8"))


def with_adapters(name: str, count: int) -> tuple[Any, Any]:
    """Load a base model with random adapters called 0, 1 and so on."""
    import torch
    from peft import LoraConfig, get_peft_model

    from personakit.models.open import resolve_model
    from personakit.models.pretrained import load_pretrained

    network, tokenizer, _, _ = load_pretrained(resolve_model(name), device="cpu")
    torch.manual_seed(0)
    config = LoraConfig(r=32, lora_alpha=64, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(network, copy.deepcopy(config), adapter_name="0")
    for number in range(1, count):
        model.add_adapter(str(number), copy.deepcopy(config))
    for key, weight in model.named_parameters():
        if "lora_B" in key:  # zero in a new adapter
            torch.nn.init.normal_(weight, std=0.003)
    return model.eval(), tokenizer


def row(model: Any, tokenizer: Any, runs: int, requests: int, options: argparse.Namespace) -> str:
    """Measure a shape; return its row of the table."""
    prompts = [
        tokenizer(prompt(run, request))["input_ids"] for run in range(runs) for request in range(requests)
    ]
    adapters = [str(run) for run in range(runs) for _ in range(requests)]

    def separate() -> list[list[int]]:
        rows = []
        for run in range(runs):
            with active_adapter(model, str(run), trained=()), suppress_peft_warnings():
                rows += answers(model, prompts[run * requests : (run + 1) * requests], options.tokens)
        return rows

    def mixed() -> list[list[int]]:
        with suppress_peft_warnings():
            return answers(Mixed(model, adapters), prompts, options.tokens)

    equal = sum(
        one == other for one, other in zip(separate(), mixed(), strict=True)
    )  # and loads what is late
    apart, together = (min(seconds(work) for _ in range(options.turns)) for work in (separate, mixed))
    cells = (runs, requests, f"{apart:.2f}", f"{together:.2f}")
    return f"| {' | '.join(map(str, cells))} | {together / apart:.2f} | {equal} of {len(prompts)} |"


class Mixed:
    """A PEFT model whose rows have adapters of their own."""

    def __init__(self, model: Any, adapters: list[str]) -> None:
        self._model, self._adapters = model, adapters

    def __call__(self, **arguments: Any) -> Any:
        """Run the model."""
        return self._model(adapter_names=self._adapters, **arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def answers(model: Any, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    """Decode so many tokens of each row: without end tokens, no row is removed from the batch."""
    from personakit.models.decoding import decode

    return decode(
        model,
        prompts,
        samples=1,
        max_new_tokens=tokens,
        temperature=0.0,
        uniforms=None,
        end_ids=frozenset(),
        pad_id=0,
    )


def prompt(run: int, request: int) -> str:
    """Return a prompt of about 130 tokens."""
    draw = random.Random(f"{run} {request}")
    texts = [" ".join(draw.choice(_WORDS.split()) for _ in range(14)) for _ in range(5)]
    begin = f"Rewrite the draft in the style of writer {run}. Keep all facts, names and dates; add nothing."
    draft = "Draft: The train is late, so the meeting begins later."
    return "\n".join([begin, *texts, draft])


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds of a call."""
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
