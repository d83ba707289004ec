"""Creates a finished run of POPI without training: adapters with random weights in a run's folders."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from personakit.config import TrainPOPI, load, to_yaml
from personakit.data.preferences import write_users
from personakit.records import PreferencePair, PreferenceUser, Signals

ADAPTER_FOLDERS = ("model/inference", "model/generator")
CONTROLS = (
    "controls/population_dpo",
    "controls/raw_dpo",
    "controls/frozen_generator/inference",
    "controls/frozen_generator/generator",
)


def make_preferences(folder: Path, users: int = 4, *, personas: bool = True) -> Path:
    """Write train, dev and test with users who each prefer answers with their own first word."""
    (folder / "preferences").mkdir(parents=True)
    for split in ("train", "dev", "test"):
        write_users(
            folder / "preferences" / f"{split}.jsonl",
            [_user(f"{split}-{number}", number, personas) for number in range(users)],
        )
    return folder


def _user(name: str, number: int, persona: bool) -> PreferenceUser:
    taste = ("red", "blue", "old", "far")[number % 4]

    def pair(request: str) -> PreferencePair:
        return PreferencePair(name, f"{request} {number}", f"{taste} {request}", f"the {request}")

    signals = Signals(tuple(pair(request) for request in ("cat", "dog")), (f"on {taste}",))
    held_out = tuple(pair(request) for request in ("tree", "house"))
    return PreferenceUser(name, signals, held_out, f"begins with {taste}" if persona else None)


def make_run(
    folder: Path, model: Path, data: Path, *, seed: int = 0, controls: bool = False, **settings: object
) -> Path:
    """Write the files of a finished `train popi` run."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    overrides = {
        "model": model,
        "data.path": data,
        "seed": seed,
        "data.signal_tokens": 100,
        "max_length": 200,
        "joint.max_summary_tokens": 8,
        "per_user.learning_rate": 0.01,
    } | settings
    config = load(TrainPOPI, None, [f"{key}={value}" for key, value in overrides.items()])
    for number, place in enumerate([*ADAPTER_FOLDERS, *(CONTROLS if controls else ())]):
        torch.manual_seed(100 * seed + number)
        network = AutoModelForCausalLM.from_pretrained(model)
        adapted = get_peft_model(
            network, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
        )
        adapted.save_pretrained(folder / place)
    (folder / "config.yaml").write_text(to_yaml(config))
    facts = {
        "method": "popi",
        "status": "finished",
        "created": f"2026-01-01T00:00:{seed:02}+00:00",
        "seed": seed,
        "seconds": 1.0,
        "stages": {},
        "config": asdict(config),
        "preference_task": None,
    }
    (folder / "run.json").write_text(json.dumps(facts, default=str))
    return folder
