"""A tiny finished PILLOW run, created within a second, with an untrained matching network."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from personakit.config import TrainPILLOW, load, to_yaml
from personakit.data.instructions import write_instructions
from personakit.records import Instruction, Pool

SPLITS = {"lora": 4, "train": 4, "dev": 6, "test": 4}


def instruction(name: str, number: int) -> Instruction:
    kind = ("ask", "tell")[number % 2]
    return Instruction(
        f"{name}-{number}", f"{kind} {name} {number}", f"of {number * 7}", f"{name} says {number}"
    )


def make_instructions(folder: Path) -> Path:
    """Write four splits and a pool of five prompts, one with the answer to dev's first instruction."""
    for split, count in SPLITS.items():
        rows = [instruction(split, number) for number in range(count)]
        write_instructions(folder / "instructions" / f"{split}.jsonl", rows)
    prompts = [instruction("pool", number) for number in range(4)]
    own = Instruction("leak", "say it", "", instruction("dev", 0).output)
    write_instructions(folder / "instructions" / "pool.jsonl", [*prompts, own])
    return folder


def make_history_run(folder: Path, model: Path, data: Path) -> Path:
    """Write a finished PILLOW run that selects from users' histories for the untuned `model`."""
    from personakit.models.local import LocalModel
    from personakit.pillow.encoding import open_text_encoder
    from personakit.pillow.matcher import MatcherFacts, save_matcher
    from personakit.pillow.network import MatcherShape, MatchingNetwork

    settings = load(
        TrainPILLOW,
        None,
        [
            f"model={model}",
            f"data.path={data}",
            "data.tasks=[LaMP_3,LaMP_7]",
            "tuning.enabled=false",
            "matcher.m=1",
        ],
    )
    encoder = open_text_encoder(settings.matcher.encoder, LocalModel.load(str(model)))
    shape = MatcherShape(width=16, m=1, size=8, hidden=8)
    facts = MatcherFacts(settings.matcher.encoder, encoder.fingerprint, None, shape)
    save_matcher(MatchingNetwork(shape), facts, folder / "matcher")
    (folder / "config.yaml").write_text(to_yaml(settings))
    facts_of_run = {
        "method": "pillow",
        "status": "finished",
        "created": "2026-01-03T00:00:00+00:00",
        "seed": 0,
        "seconds": 1.0,
        "stages": {},
        "config": asdict(settings),
    }
    (folder / "run.json").write_text(json.dumps(facts_of_run))
    return folder


def make_pillow_run(folder: Path, model: Path, data: Path, *, seed: int = 0, full: bool = True) -> Path:
    """Write a finished PILLOW run with `model` as both the LoRA and the fully fine-tuned model."""
    from personakit.data.instructions import open_pool
    from personakit.models.local import LocalModel
    from personakit.pillow.encoding import open_text_encoder
    from personakit.pillow.matcher import MatcherFacts, save_matcher
    from personakit.pillow.network import MatcherShape, MatchingNetwork
    from personakit.pillow.pool import save_pool

    overrides = [
        f"model={model}",
        f"data.path={data}",
        "data.template=plain",
        f"seed={seed}",
        "rl.reward.max_new_tokens=6",
    ]
    settings = load(TrainPILLOW, None, overrides)
    shutil.copytree(model, folder / "model")
    if full:
        shutil.copytree(model, folder / "controls" / "full_fine_tuning")
    pool: Pool = open_pool("pool", data).pool
    encoder = open_text_encoder(settings.matcher.encoder, LocalModel.load(str(folder / "model")))
    shape = MatcherShape(width=16, m=settings.matcher.m, size=8, hidden=8)
    facts = MatcherFacts(settings.matcher.encoder, encoder.fingerprint, pool.fingerprint, shape)
    save_matcher(MatchingNetwork(shape, seed=seed), facts, folder / "matcher")
    save_pool(pool, folder)
    (folder / "config.yaml").write_text(to_yaml(settings))
    tuned = {"flops": 100, "gradient_bytes": 4, "optimizer_bytes": 6, "peak_bytes": 50, "seconds": 2.0}
    whole = {"flops": 200, "gradient_bytes": 40, "optimizer_bytes": 60, "peak_bytes": 90, "seconds": 3.0}
    (folder / "run.json").write_text(
        json.dumps(
            {
                "method": "pillow",
                "status": "finished",
                "created": f"2026-01-02T00:00:{seed:02}+00:00",
                "seed": seed,
                "seconds": 1.0,
                "stages": {},
                "config": asdict(settings),
                "compute": {"lora": tuned, "full-fine-tuning": whole, "matching": tuned},
            }
        )
    )
    return folder
