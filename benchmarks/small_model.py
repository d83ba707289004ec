"""A model of nano's size on a CPU: our training step and decoding against the usual ones.

    python benchmarks/small_model.py [--steps 5] [--prompts 128] [--untuned]

Training: batches of 32 examples of about 200 tokens, 30 of them answer, through a plain PyTorch loop, TRL's
SFTTrainer, and `finetune` (logits for the answers only). Decoding: greedy answers of at most 30 tokens to
prompts of about 200, through `transformers.generate` and `LocalModel`; answers end after a random number of
tokens (each step ends with probability 0.1), as real ones do. One thread, and CPU seconds instead of wall
clock, so that other processes hardly affect the result; glibc's malloc is tuned as for training unless
`--untuned`. The table is printed and written to benchmarks/results/small_model.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from personakit.files import write_text
from personakit.models.environment import hide_loading_bars
from personakit.training.allocator import allocator_environment

RESULTS = Path(__file__).parent / "results" / "small_model.md"
BATCH, VOCABULARY, NEW_TOKENS = 32, 2048, 30
ENDS = range(2, 2 + VOCABULARY // 10)  # tokens that end an answer: a tenth of a random model's choices


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--untuned", action="store_true")
    options = parser.parse_args()
    missing = {} if options.untuned else allocator_environment()
    if missing or os.environ.get("OMP_NUM_THREADS") != "1":
        environment = os.environ | missing | {"OMP_NUM_THREADS": "1"}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)
    hide_loading_bars()
    with tempfile.TemporaryDirectory() as folder:
        base = make_model(Path(folder) / "base")
        rows = [*training_rows(base, Path(folder), options.steps), *decoding_rows(base, options.prompts)]
    table = "\n".join(["| what | how | per CPU second | ratio |", "|---|---|---|---|", *rows])
    settings = f"{platform.machine()}, one thread, malloc {'as it is' if options.untuned else 'tuned'}"
    write_text(RESULTS, f"{table}\n\n{settings}; {options.steps} steps, {options.prompts} prompts.\n")
    print(RESULTS.read_text(encoding="utf-8"))


def make_model(folder: Path) -> Path:
    """Random weights in nano's shape: 128 wide, 4 layers, and a tokenizer whose tokens are numbers."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = {"<pad>": 0, "<eos>": 1, **{str(number): number for number in range(2, VOCABULARY)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=344,
        vocab_size=VOCABULARY,
        tie_word_embeddings=True,
        max_position_embeddings=1024,
        initializer_range=0.1,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def texts(count: int, low: int, high: int, seed: int) -> list[str]:
    drawn = random.Random(seed)
    return [
        " ".join(str(drawn.randrange(300, VOCABULARY)) for _ in range(drawn.randint(low, high)))
        for _ in range(count)
    ]


def training_rows(base: Path, folder: Path, steps: int) -> list[str]:
    from personakit.training import supervised
    from personakit.training.precision import decide_precision

    count = BATCH * steps
    examples = [
        supervised.PromptCompletion(prompt, answer)
        for prompt, answer in zip(texts(count, 140, 200, 0), texts(count, 20, 40, 1), strict=True)
    ]
    rows = []
    for dtype in ("float32", "bfloat16") if decide_precision("cpu").bf16 else ("float32",):
        bare = bare_loop(base, examples, dtype)
        stock = through_finetune(base, folder / f"stock-{dtype}", examples, dtype, shared=False)
        ours = through_finetune(base, folder / f"ours-{dtype}", examples, dtype, shared=True)
        for how, speed in (("bare loop", bare), ("SFTTrainer", stock), ("finetune", ours)):
            rows.append(f"| training tokens, {dtype} | {how} | {speed:,.0f} | {speed / bare:.2f} |")
    return rows


def bare_loop(base: Path, examples: list[Any], dtype: str) -> float:
    """Tokens per CPU second of a plain loop, after its first step."""
    import torch
    from transformers import AutoModelForCausalLM

    from personakit.models.pretrained import load_pretrained
    from personakit.training import supervised
    from personakit.training.schedule import make_schedule

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).train()
    _, tokenizer, _, _ = load_pretrained(str(base), device="cpu")
    rows, labels, _ = supervised._tokenized(tokenizer, examples, 1024)
    schedule = make_schedule([len(row) for row in rows], batch_size=BATCH, seed=0, epochs=1)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    stamps = []
    for step in range(schedule.steps):
        batch = schedule.order[step * BATCH : (step + 1) * BATCH]
        longest = max(len(rows[index]) for index in batch)
        ids = torch.tensor([rows[i] + [0] * (longest - len(rows[i])) for i in batch])
        wanted = torch.tensor([labels[i] + [-100] * (longest - len(rows[i])) for i in batch])
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = model(ids, attention_mask=(ids != 0).long(), labels=wanted, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        stamps.append(time.process_time())
    return speed_after_first(schedule.tokens_by_step, stamps)


def through_finetune(base: Path, folder: Path, examples: list[Any], dtype: str, *, shared: bool) -> float:
    """Tokens per CPU second through TRL's trainer, after its first step."""
    from personakit.config.training import TrainingSettings
    from personakit.training.progress import SilentProgress
    from personakit.training.run import Run
    from personakit.training.schedule import make_schedule
    from personakit.training.stage import Stage
    from personakit.training.supervised import finetune

    stamps: list[float] = []

    class Clock(SilentProgress):
        def update(self, done: int, **facts: float) -> None:
            if not facts:  # once a step; logging reports again, with facts
                stamps.append(time.process_time())

    lengths = [len(e.prompt.split()) + len(e.completion.split()) + 1 for e in examples]
    tokens = make_schedule(lengths, batch_size=BATCH, seed=0, epochs=1).tokens_by_step
    settings = TrainingSettings(per_device_train_batch_size=BATCH, shared_prefix=shared)
    with Run.create(folder, "rpo", {}, 0) as run:
        stage = Stage(run, "sft", progress=Clock(), dtype=dtype, device="cpu")
        finetune(str(base), examples, settings, stage)
    return speed_after_first(tokens, stamps)


def speed_after_first(tokens: list[int], stamps: list[float]) -> float:
    return (tokens[-1] - tokens[0]) / (stamps[-1] - stamps[0])


def decoding_rows(base: Path, count: int) -> list[str]:
    import torch

    from personakit.models.local import LocalModel

    model = LocalModel.load(str(base), device="cpu")
    model.model.generation_config.eos_token_id = list(ENDS)
    prompts = texts(count, 150, 230, 2)

    def with_transformers() -> list[str]:
        answers: list[str] = []
        for start in range(0, count, 64):
            batch = model.tokenizer(prompts[start : start + 64], return_tensors="pt", padding=True)
            with torch.inference_mode():
                rows = model.model.generate(
                    input_ids=batch["input_ids"],
                    attention_mask=batch["attention_mask"],
                    max_new_tokens=NEW_TOKENS,
                    do_sample=False,
                )
            for row in rows[:, batch["input_ids"].shape[1] :].tolist():
                end = next((place for place, token in enumerate(row) if token in ENDS), len(row))
                answers.append(model.tokenizer.decode(row[:end], skip_special_tokens=True))
        return answers

    def ours() -> list[str]:
        return [row[0] for row in model.generate(prompts, max_new_tokens=NEW_TOKENS)]

    def timed(decode: Callable[[], list[str]]) -> tuple[float, list[str]]:
        decode()
        start = time.process_time()
        answers = decode()
        return count / (time.process_time() - start), answers

    (stock, reference), (own, answers) = timed(with_transformers), timed(ours)
    same = sum(a == b for a, b in zip(answers, reference, strict=True))
    kind = "answers, greedy, float32"
    return [
        f"| {kind} | transformers.generate, batches of 64 | {stock:,.0f} | 1.00 |",
        f"| {kind} | LocalModel ({same} of {count} the same) | {own:,.0f} | {own / stock:.2f} |",
    ]


if __name__ == "__main__":
    main()
