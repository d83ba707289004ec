"""A tiny data folder, model and finished run, created within a second, for tests of commands.

The model is a Llama with random weights: its answers mean nothing, which is enough for what the command
line does with them.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from personakit.config import TrainRPO, load, to_yaml
from personakit.data.lamp import write_split
from personakit.data.lamp_formats import build_input, profile_item, search_text
from personakit.records import Example, Profile, Query

USERS = {"train": ("ada", "bob", "cyd"), "dev": ("dan", "eve", "fay"), "test": ("gus", "hal")}


def make_data(folder: Path, *, repeats: int = 1) -> Path:
    """Write LaMP_3 and LaMP_7 with three users a split; the last user's history is empty.

    `repeats` is how many queries each user has.
    """
    for task in ("LaMP_3", "LaMP_7"):
        for split, users in USERS.items():
            examples = [
                _example(task, split, number, user, users) for number, user in enumerate(users * repeats)
            ]
            write_split(folder / task, split, examples, user_ids=True)
    return folder


def make_model(folder: Path) -> Path:
    """Write a random Llama of a few thousand parameters and a byte-level tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<eos>": 0, **{letter: number for number, letter in enumerate(letters, start=1)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>").save_pretrained(
        folder
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=4096,
        eos_token_id=0,
        pad_token_id=0,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_run(folder: Path, model: Path, data: Path, *changed: str, seed: int = 0, tuned: bool = True) -> Path:
    """Write a finished RPO run: `model` is rewriter, base and fine-tuned control, `changed` its settings."""
    import shutil

    overrides = [
        f"model={model}",
        f"base={model}",
        f"data.path={data}",
        f"seed={seed}",
        "decoding.max_new_tokens=8",
        "trajectories.max_tokens=32",
        "trajectories.writer=template",
        *changed,
    ]
    settings = load(TrainRPO, None, overrides)
    shutil.copytree(model, folder / "model")
    if tuned:
        shutil.copytree(model, folder / "controls" / "context_injection")
    (folder / "config.yaml").write_text(to_yaml(settings))
    facts = {
        "method": "rpo",
        "status": "finished",
        "created": f"2026-01-01T00:00:{seed:02}+00:00",
        "seed": seed,
        "seconds": 1.0,
        "stages": {},
        "config": asdict(settings),
    }
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


def _example(task: str, split: str, number: int, user: str, users: tuple[str, ...]) -> Example:
    size = 0 if user == users[-1] else 3
    if task == "LaMP_3":
        fields = [{"text": f"{user} says {n}", "score": str(1 + (n + number) % 5)} for n in range(size)]
        text, gold = build_input(task, text=f"{user} on a thing"), str(1 + number % 5)
    else:
        fields = [{"text": f"{user} was here {n}"} for n in range(size)]
        again = f" {number}" if number >= len(users) else ""
        text, gold = build_input(task, text=f"{user} is away{again}"), f"{user} is off, bye"
    items = tuple(profile_item(task, str(n), each) for n, each in enumerate(fields))
    query = Query(f"{task[-1]}{split[0]}{number}", task, text, search_text(task, text), user, gold)
    return Example(query, Profile(user, items))
