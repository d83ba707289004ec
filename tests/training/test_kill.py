"""A run that is killed by SIGKILL and resumed equals an uninterrupted run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from forking import ForkServer

SCRIPT = """
import json, os, signal, sys
from pathlib import Path
from models.tiny import WORDS, sentences
from personakit.config.training import TrainingSettings
from training.staging import staged
from personakit.training import supervised, watch
from personakit.training.run import Run

base, root, settings = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
examples = [supervised.PromptCompletion(text, WORDS[n % 30]) for n, text in enumerate(sentences(40))]

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def die_after_line(step):
    log = Run.log_metrics
    def log_metrics(self, stage, now, **values):
        log(self, stage, now, **values)
        if now == step:
            with (self.folder / "metrics.jsonl").open("a") as handle:
                handle.write('{"stage": "sf')  # an incomplete next line
            die()
    Run.log_metrics = log_metrics

def die_before_marker(step):
    mark = watch.mark_complete
    watch.mark_complete = lambda folder: die() if folder.name == f"checkpoint-{step}" else mark(folder)

def die_before_stage_is_marked(step):
    Run.mark_stage = die

def attempt(name, resume=False, death=None, step=None):
    child = os.fork()
    if child == 0:
        if death is not None:
            death(step)
        with Run.create(root / name, "rpo", settings, 1, resume=resume) as run:
            supervised.finetune(base, examples, *staged(TrainingSettings, run, "sft", **settings))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert (os.WTERMSIG(status) == signal.SIGKILL) if death else status == 0, (name, status)

attempt("alone")
attempt("killed", death=die_after_line, step=6)
attempt("killed", resume=True, death=die_before_marker, step=16)
attempt("killed", resume=True, death=die_before_stage_is_marked)
attempt("killed", resume=True)
"""


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "tokens_per_second"} for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "file"),
    [
        # The random state (LoRA's dropout) must be restored.
        ({"r": 4, "lora_dropout": 0.1}, "adapter_model.safetensors"),
        pytest.param({}, "model.safetensors", marks=pytest.mark.extended),
    ],
    ids=["lora", "full"],
)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_and_resumed_weights_are_bit_identical(
    tiny_folder: Path, tmp_path: Path, forked: ForkServer, weights: dict[str, float], file: str
) -> None:
    settings = {
        "num_train_epochs": 2.3,  # 23 steps: the kills fall in both epochs
        "per_device_train_batch_size": 4,
        "logging_steps": 2,
        "save_steps": 4,
        "device": "cpu",
        **weights,
    }
    done = forked.run(SCRIPT, str(tiny_folder), str(tmp_path), json.dumps(settings))
    assert done.status == 0, done.err[-3000:]
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    assert (alone / "model" / file).read_bytes() == (killed / "model" / file).read_bytes()
    assert metrics(alone) == metrics(killed)
    assert len(metrics(alone)) == 11
    assert json.loads((killed / "run.json").read_text())["status"] == "finished"
