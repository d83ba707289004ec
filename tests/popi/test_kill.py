"""POPI's joint stage, killed with SIGKILL and resumed, equals an uninterrupted run."""

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
import torch
from popi.codes import users, with_summary
from personakit.popi import trainer
from personakit.config.train_popi import JointSettings
from personakit.popi.joint import train_jointly
from training.staging import staged
from personakit.training import watch
from personakit.training.run import Run

base, root, settings = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def die_after_line(step):
    log = Run.log_metrics
    def log_metrics(self, stage, now, **values):
        log(self, stage, now, **values)
        if now == step:
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
        torch.manual_seed(os.getpid())  # as in separate processes
        if death is not None:
            death(step)
        with Run.create(root / name, "popi", settings, 1, resume=resume) as run:
            placed = staged(JointSettings, run, "joint", group_by_length=False, **settings)
            train_jointly(base, users(), with_summary, *placed)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert (os.WTERMSIG(status) == signal.SIGKILL) if death else status == 0, (name, status)

attempt("alone")
attempt("killed", death=die_after_line, step=5)
attempt("killed", resume=True, death=die_before_marker, step=8)
attempt("killed", resume=True, death=die_before_stage_is_marked)
attempt("killed", resume=True)
"""


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "tokens_per_second"} for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize(
    "schedule",
    [
        "alternating",
        *(pytest.param(each, marks=pytest.mark.extended) for each in ("joint", "generator-frozen")),
    ],
)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_and_resumed_adapters_are_bit_identical(
    tiny_folder: Path, tmp_path: Path, forked: ForkServer, schedule: str
) -> None:
    settings = {
        "schedule": schedule,
        "max_steps": 10,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "num_summaries": 3,
        "num_pairs": 3,
        "max_summary_tokens": 3,
        "learning_rate": 1e-2,
        "generator_learning_rate": 1e-2,
        "r": 4,
        "lora_dropout": 0.1,  # the random state must be restored
        "alternate_every": 3,  # a checkpoint falls between the switches of the roles
        "save_steps": 4,
        "max_length": 64,
        "device": "cpu",
    }
    done = forked.run(SCRIPT, str(tiny_folder), str(tmp_path), json.dumps(settings))
    assert done.status == 0, done.err[-3000:]
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    for role in ("inference", "generator"):
        one, other = (each / "model" / role / "adapter_model.safetensors" for each in (alone, killed))
        assert one.read_bytes() == other.read_bytes()
    assert metrics(alone) == metrics(killed)
    assert len(metrics(alone)) == 10
    assert json.loads((killed / "run.json").read_text())["status"] == "finished"
