"""Trains voice, scores it on writers that it was not trained on, and writes the shipped folder.

python -m personakit.recipes.voice --output personakit/models/voice/run
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personakit.data.lamp import write_split
from personakit.files import atomic_folder, write_json
from personakit.methods import open_run
from personakit.methods.training import train
from personakit.models.smollm2 import NAME as SMOLLM2
from personakit.models.voice import FOLDER
from personakit.recipes.voice.examples import SHOWN, TASK, examples
from personakit.records import Example
from personakit.tasks.scoring import text_metric
from personakit.training.training_digests import TRAINED_ON_FILE

EXAMPLES, SEED = 1200, 1
SCORED = 60
SETTINGS = (
    f"data.tasks=[{TASK}]",
    f"model={SMOLLM2}",
    "draft=input",
    "trajectories.writer=none",
    "trajectories.no_history_share=0.02",
    "retrieval.name=recency",
    f"retrieval.k={SHOWN}",
    "prompt_tokens=640",
    "controls.fine_tuned_context_injection=false",
    "lora.r=8",
    "lora.lora_alpha=16",
    "sft.learning_rate=1e-3",
    "sft.num_train_epochs=1",
    "sft.per_device_train_batch_size=8",
    "sft.logging_steps=5",
)
#: Keys of run.json that say nothing about the machine that trained.
_FACTS = ("method", "status", "created", "seed", "seconds", "stages", "versions", "trajectory_writer")
_FACT = re.compile(r"\d+(?:[.,:]\d+)*|(?<=[a-z0-9,] )[A-Z][\w']+")


@dataclass(frozen=True, slots=True)
class Scores:
    """Mean scores of answers, in [0, 1]."""

    rouge_l: float
    exact: float
    facts: float
    """Share of answers with all numbers and names of their draft."""


def scores(answers: Sequence[str], scored: Sequence[Example]) -> Scores:
    """Compare answers with what the writers would have written."""
    golds = [example.query.gold or "" for example in scored]
    pairs = list(zip(answers, golds, strict=True))
    kept = [has_facts(answer, each.query.search_text) for answer, each in zip(answers, scored, strict=True)]
    return Scores(
        sum(text_metric("rouge-L", *pair) for pair in pairs) / len(pairs),
        sum(text_metric("exact", *pair) for pair in pairs) / len(pairs),
        sum(kept) / len(kept),
    )


def has_facts(answer: str, draft: str) -> bool:
    """Return whether the answer has all numbers of the draft and its capitalised words within sentences."""
    facts = (rf"(?<!\w){re.escape(fact)}(?!\w)" for fact in _FACT.findall(draft))
    return all(re.search(fact, answer, re.IGNORECASE) for fact in facts)


def evaluate(run: Path, count: int, seed: int) -> dict[str, Scores]:
    """Return the scores of the drafts themselves and of the run's answers, on `count` new writers."""
    scored = list(examples(count, seed))
    answers = open_run(run).respond([each.query for each in scored], [each.profile for each in scored])
    return {
        "the draft": scores([each.query.search_text for each in scored], scored),
        "voice": scores([answer.text for answer in answers], scored),
    }


def write_folder(run: Path, folder: Path) -> None:
    """Write what answering and `eval` need of a run, without paths; the adapter in bfloat16."""
    import torch
    import yaml
    from safetensors.torch import load_file, save_file

    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    config["data"]["path"] = "lamp-mini"  # for --user, and for a query to show
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    adapter: dict[str, Any] = json.loads((run / "model" / "adapter_config.json").read_text(encoding="utf-8"))
    adapter["base_model_name_or_path"] = SMOLLM2
    adapter["target_modules"].sort()
    weights = load_file(run / "model" / "adapter_model.safetensors")
    if folder.exists():
        shutil.rmtree(folder)
    with atomic_folder(folder) as temporary:
        (temporary / "model").mkdir()
        (temporary / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        shutil.copy(run / TRAINED_ON_FILE, temporary)
        write_json(temporary / "run.json", {name: facts[name] for name in _FACTS})
        write_json(temporary / "model" / "adapter_config.json", adapter)
        save_file(
            {name: weight.to(torch.bfloat16).contiguous() for name, weight in weights.items()},
            temporary / "model" / "adapter_model.safetensors",
            metadata={"format": "pt"},
        )


def main() -> None:
    """Generate, train, write the folder, and print its scores."""
    parser = argparse.ArgumentParser(description="Train voice, the built-in rewriter.")
    parser.add_argument("--output", type=Path, default=FOLDER)
    parser.add_argument("--run", type=Path, default=Path("runs/voice"), help="folder of the training run")
    parser.add_argument("--resume", action="store_true", help="continue the training run")
    parser.add_argument("--examples", type=int, default=EXAMPLES)
    parser.add_argument("--scored", type=int, default=SCORED)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    data = options.run.with_name(f"{options.run.name}-data")
    if not options.resume:
        write_split(data / TASK, "train", examples(options.examples, options.seed), user_ids=True)
    train(
        "rpo",
        overrides=[] if options.resume else [f"data.path={data}", *SETTINGS],
        output=options.run,
        resume=options.resume,
    )
    write_folder(options.run, options.output)
    print(f"{options.scored} writers with other posts and texts")
    for name, found in evaluate(options.output, options.scored, options.seed + 1).items():
        print(
            f"{name:<10} ROUGE-L {found.rouge_l:.3f}, exact {found.exact:.2f}, facts kept {found.facts:.2f}"
        )


if __name__ == "__main__":
    main()
