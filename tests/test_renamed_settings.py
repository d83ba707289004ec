"""Settings that had other names: runs of earlier versions open, users are given the new names."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from personakit.cli import main
from personakit.config import TrainPILLOW, TrainPOPI, TrainRPO, load, load_saved, walk
from personakit.config.renamed import RENAMED
from personakit.errors import UserError
from personakit.methods import METHODS
from personakit.training.run import Run

SCHEMAS: dict[str, type[Any]] = {"rpo": TrainRPO, "popi": TrainPOPI, "pillow": TrainPILLOW}

# Shortened `config.yaml`s as earlier versions wrote them, and what they mean.
RPO = """
model: nano
data: {path: lamp-mini, tasks: [LaMP_2], limit: 64}
lora: {rank: 0, alpha: 16, dropout: 0.1, targets: q_proj, four_bit: false}
sft:
  epochs: 1.25
  steps: 25
  batch_size: 3
  accumulation: 2
  schedule: linear
  warmup_share: 0.1
  checkpoint_every: 7
  early_stop: {metric: eval_loss, patience: 2, minimum_change: 0.5, mode: min}
rl:
  batch_size: 5
  accumulation: 1
  generations: 6
  max_tokens: null
  schedule: constant
  vllm: server
  vllm_url: http://localhost:1
  early_stop: {metric: null, patience: 3, minimum_change: 0.0, mode: max}
  curriculum: {first: 2, items: []}
"""
POPI = """
max_length: 256
lora: {rank: 8, alpha: 64}
warm_start: {epochs: 2.0, steps: 10, batch_size: 4, warmup_share: 0.2, checkpoint_every: 20}
joint:
  schedule: alternating
  steps: 3
  batch_size: 2
  accumulation: 3
  summaries: 5
  pairs: 2
  summary_tokens: 8
  kl: 0.02
  schedule_of_rates: constant
  gradient_checkpointing: true
  shared_prefix: false
"""
PILLOW = """
lora: {rank: 4}
tuning: {shown: 2, shown_from: 40, shown_share: 0.25, batch_size: 8, accumulation: 2, schedule: linear}
matcher: {m: 3, size: 64, hidden: 32}
rl: {epochs: 2.0, steps: 20, batch_size: 10, selections: 3, clip: 1.5, ppo_epochs: 2, ppo_clip: 0.1}
"""
SAVED = {
    "rpo": (
        RPO,
        {
            "data.tasks": ["LaMP_2"],
            "draft": "base",  # earlier versions had no other drafts, and always a trace
            "trajectories.writer": "template",
            "lora.r": 0,
            "lora.lora_alpha": 16,
            "lora.target_modules": "q_proj",
            "sft.max_steps": 25,
            "sft.per_device_train_batch_size": 3,
            "sft.gradient_accumulation_steps": 2,
            "sft.lr_scheduler_type": "linear",
            "sft.warmup_ratio": 0.1,
            "sft.save_steps": 7,
            "sft.metric_for_best_model": "eval_loss",
            "sft.early_stopping_patience": 2,
            "sft.early_stopping_threshold": 0.5,
            "sft.greater_is_better": False,
            "rl.per_device_train_batch_size": 30,  # 5 queries, 6 rewrites each
            "rl.num_generations": 6,
            "rl.lr_scheduler_type": "constant",
            "rl.vllm_mode": "server",
            "rl.vllm_server_base_url": "http://localhost:1",
            "rl.greater_is_better": None,
            "rl.curriculum.first": 2,
            "rl.top_p": 1.0,  # unknown to earlier versions
        },
    ),
    "popi": (
        POPI,
        {
            "max_length": 256,
            "lora.r": 8,
            "warm_start.max_steps": 10,
            "warm_start.warmup_ratio": 0.2,
            "warm_start.gradient_checkpointing": True,  # it had the joint stage's
            "warm_start.shared_prefix": False,
            "joint.schedule": "alternating",
            "joint.lr_scheduler_type": "constant",
            "joint.per_device_train_batch_size": 2,
            "joint.gradient_accumulation_steps": 3,
            "joint.num_summaries": 5,
            "joint.num_pairs": 2,
            "joint.max_summary_tokens": 8,
            "joint.kl_coef": 0.02,
        },
    ),
    "pillow": (
        PILLOW,
        {
            "lora.r": 4,
            "tuning.num_shots": 2,
            "tuning.shot_candidates": 40,
            "tuning.few_shot_share": 0.25,
            "tuning.lr_scheduler_type": "linear",
            "matcher.m": 3,
            "matcher.embedding_size": 64,
            "matcher.hidden_size": 32,
            "rl.batch_size": 10,
            "rl.num_selections": 3,
            "rl.max_grad_norm": 1.5,
            "rl.num_ppo_epochs": 2,
            "rl.cliprange": 0.1,
        },
    ),
}


def value(settings: Any, key: str) -> Any:
    for name in key.split("."):
        settings = getattr(settings, name)
    return settings


@pytest.mark.parametrize("method", sorted(SAVED))
def test_the_settings_of_an_old_run_are_read_by_their_new_names(method: str, tmp_path: Path) -> None:
    text, expected = SAVED[method]
    path = tmp_path / "config.yaml"
    path.write_text(text)
    settings = load_saved(METHODS[method].settings, path, ["seed=4"])
    assert {key: value(settings, key) for key in expected} == expected
    assert settings.seed == 4
    with pytest.raises(UserError, match=r"config\.yaml: lora\.rank is now called lora\.r"):
        load(METHODS[method].settings, path)


def test_an_old_run_is_resumed_with_the_same_settings_and_no_others(tmp_path: Path) -> None:
    import yaml

    with Run.create(tmp_path / "run", "rpo", yaml.safe_load(RPO), 0):
        pass
    settings = load_saved(METHODS["rpo"].settings, tmp_path / "run" / "config.yaml")
    with Run.create(tmp_path / "run", "rpo", settings, 0, resume=True) as run:
        assert run.facts["config"]["lora"]["rank"] == 0
    for key, changed in (("rl", {"top_p": 0.5}), ("sft", {"max_steps": 26})):
        other = dataclasses.replace(settings, **{key: dataclasses.replace(getattr(settings, key), **changed)})
        (name,) = changed
        with pytest.raises(UserError, match=rf"began with {key}\.{name}="):
            Run.create(tmp_path / "run", "rpo", other, 0, resume=True)


@pytest.mark.parametrize("method", sorted(RENAMED, key=lambda schema: schema.__name__))
def test_every_new_name_is_a_setting_and_no_old_one_is(method: type[Any]) -> None:
    known = {one.key for one in walk(method)}
    assert set(RENAMED[method].values()) <= known
    assert not set(RENAMED[method]) & known


def test_an_old_key_is_refused_with_the_new_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "rpo", "sft.batch_size=4", "--output", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0] == ("error: sft.batch_size is now called sft.per_device_train_batch_size")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError) as caught:
        load(METHODS["rpo"].settings, None, ["rl.batch_size=8"])
    assert "now counts rewrites" in caught.value.message
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"sft": {"steps": 3, "early_stop": {"mode": "max"}}, "rl": {"batch_size": 8}}))
    with pytest.raises(UserError) as caught:
        load(METHODS["rpo"].settings, path)
    assert caught.value.message == f"{path}: sft.steps is now called sft.max_steps"
    assert caught.value.hint == (
        "also, sft.early_stop.mode is sft.greater_is_better (min is now false, and max is true); "
        "rl.batch_size is rl.per_device_train_batch_size (it now counts rewrites, as TRL does: queries times "
        "rl.num_generations)"
    )
