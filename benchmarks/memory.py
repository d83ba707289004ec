"""Memory of a training stage: the estimate before it starts, and the measured peak, on a CPU.

    python benchmarks/memory.py

A Llama of 5 M parameters with random weights, 1024 tokens of prompt and 64 of answer, two optimizer steps of
each stage, each case in a separate process. Estimate: what the stage wrote to run.json. Measured: the
process's peak resident memory minus what it holds after a tiny warm-up stage that has imported everything.
The table is printed and written to benchmarks/results/memory.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

from personakit.files import write_text
from personakit.models.environment import hide_loading_bars
from personakit.training.allocator import allocator_environment

RESULTS = Path(__file__).parent / "results" / "memory.md"
VOCABULARY, PROMPT, ANSWER = 2048, 1024, 64
ROWS = "per_device_train_batch_size"
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "SFT, 8 rows": ("sft", {ROWS: 8}),
    "SFT, 2 rows": ("sft", {ROWS: 2}),
    "SFT, 8 rows, gradient checkpointing": ("sft", {ROWS: 8, "gradient_checkpointing": True}),
    "SFT, 8 rows, LoRA": ("sft", {ROWS: 8, "r": 16}),
    "SFT, 8 rows, bfloat16": ("sft", {ROWS: 8, "dtype": "bfloat16"}),
    "preference, 4 pairs, dense": ("dpo", {ROWS: 4, "shared_prefix": False}),
    "preference, 4 pairs, shared prefix": ("dpo", {ROWS: 4}),
    "group RL, 8 completions of a prompt, dense": ("grpo", {ROWS: 8, "shared_prefix": False}),
    "group RL, 8 completions of a prompt, shared prefix": ("grpo", {ROWS: 8}),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", help=argparse.SUPPRESS)
    case = parser.parse_args().case
    if case is not None:
        print(json.dumps(measure(*CASES[case])))
        return
    rows = []
    for name in CASES:
        done = subprocess.run(
            [sys.executable, __file__, "--case", name],
            env=os.environ | allocator_environment() | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        told = json.loads(done.stdout.splitlines()[-1])
        ratio = told["estimate"] / told["measured"]
        rows.append(f"| {name} | {told['estimate'] / 1e6:.0f} | {told['measured'] / 1e6:.0f} | {ratio:.2f} |")
    head = "| stage | estimated MB | measured MB | ratio |\n|---|---|---|---|"
    write_text(RESULTS, "\n".join([head, *rows, "", f"{platform.machine()}, malloc tuned, one thread.", ""]))
    print(RESULTS.read_text(encoding="utf-8"))


def measure(stage: str, settings: dict[str, Any]) -> dict[str, float]:
    """Train once and return the run's own estimate and the measured peak, in bytes."""
    hide_loading_bars()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["PERSONAKIT_CACHE"] = str(folder / "cache")
        tiny, model = make_model(folder / "tiny", 32, 1), make_model(folder / "model", 256, 6)
        train(stage, tiny, folder / "warm", settings, prompt=16)
        before = psutil.Process().memory_info().rss
        estimate = train(stage, model, folder / "run", settings, prompt=PROMPT)
        peak = largest_resident()
    return {"estimate": estimate, "measured": peak - before}


def largest_resident() -> int:
    """Return this process's peak resident memory in bytes.

    On Linux from /proc: `ru_maxrss` starts from the parent process's value.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def train(stage: str, model: Path, folder: Path, settings: dict[str, Any], *, prompt: int) -> float:
    """Train a stage for two steps on `model`; return the estimate that it recorded."""
    from personakit.config.training import (
        GroupRLSettings,
        LoraSettings,
        PreferenceSettings,
        TrainingSettings,
    )
    from personakit.training import group_rl, preference, supervised
    from personakit.training.run import Run
    from personakit.training.stage import Stage

    common = {"max_steps": 2} | settings
    lora, dtype = LoraSettings(r=common.pop("r", 0)), common.pop("dtype", "float32")
    count = 2 * int(settings[ROWS])
    prompts, chosen, rejected = texts(count, prompt, 0), texts(count, ANSWER, 1), texts(count, ANSWER, 2)
    with Run.create(folder, "rpo", {}, 0) as run:
        place = Stage(run, stage, lora=lora, max_length=PROMPT + ANSWER + 1, device="cpu", dtype=dtype)
        if stage == "sft":
            examples = [supervised.PromptCompletion(a, b) for a, b in zip(prompts, chosen, strict=True)]
            supervised.finetune(str(model), examples, TrainingSettings(**common), place)
        elif stage == "dpo":
            pairs = [preference.TrainingPair(*three) for three in zip(prompts, chosen, rejected, strict=True)]
            preference.train_dpo(str(model), pairs, PreferenceSettings(**common), place)
        else:
            group = GroupRLSettings(**common, num_generations=8)
            reward = group_rl.RewardFunction(
                lambda completions, **_: [len(set(text.split())) for text in completions]
            )
            some = [group_rl.Prompt(a) for a in prompts]
            group_rl.train(str(model), some, [reward], group, place, max_completion_length=ANSWER)
        return float(run.facts["memory"][stage]["total"])


def make_model(folder: Path, width: int, layers: int) -> Path:
    """Random weights in Llama's shape, and a tokenizer whose tokens are numbers."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = {"<pad>": 0, "<eos>": 1, **{str(number): number for number in range(2, VOCABULARY)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>").save_pretrained(
        folder
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=8,
        intermediate_size=width * 43 // 16,
        vocab_size=VOCABULARY,
        tie_word_embeddings=True,
        max_position_embeddings=2 * PROMPT,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def texts(count: int, length: int, seed: int) -> list[str]:
    drawn = random.Random(seed)
    return [" ".join(str(drawn.randrange(2, VOCABULARY)) for _ in range(length)) for _ in range(count)]


if __name__ == "__main__":
    main()
