"""Every configuration in configs/popi is loaded, planned, and trained on a tiny random model."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from models.architectures import make_stand_in
from models.shipped import (
    check_launch_line,
    check_memory,
    of_the_hub,
    published_shape,
    representatives,
    says_memory,
)

from personakit.config.loading import config_folder, load
from personakit.config.train_popi import TrainPOPI
from personakit.models.local import LocalModel
from personakit.popi.memory import estimate_stages
from personakit.popi.train import check_plan, train_popi
from personakit.training.progress import SilentProgress
from personakit.training.run import Run

from .test_train import data_of, people

FILES = sorted((config_folder() / "popi").glob("*.yaml"))
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)

SHORT = ["data.limit=6", "data.held_out=2", "max_length=384", "data.signal_tokens=256", "joint.max_steps=1"]
SHORT += [
    "warm_start.max_steps=1",
    "warm_start.per_device_train_batch_size=2",
    "joint.per_device_train_batch_size=1",
    "joint.gradient_accumulation_steps=1",
]
SHORT += ["joint.max_summary_tokens=12"]
SHORT += ["warm_start.summaries=template", "controls.population_dpo=false", "controls.raw_dpo=false"]
"""Sizes and lengths."""


@each_file
def test_the_configuration_is_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("personakit.models.smollm2.packaged_file", lambda: None)  # converting takes long
    config = load(TrainPOPI, path)
    if config.lora.load_in_4bit:
        pytest.importorskip("bitsandbytes")
    check_plan(config)
    check_launch_line(path, "popi", config.data.path)


@representatives(FILES, "qwen3-4b-24gb")
@pytest.mark.slow
def test_a_tiny_model_of_its_architecture_trains(path: Path, tmp_path: Path) -> None:
    shipped = load(TrainPOPI, path)
    if shipped.lora.load_in_4bit:
        pytest.importorskip("bitsandbytes")
    model = make_stand_in(shipped.model, tmp_path / "model")
    data = data_of(tmp_path / "data", people(6))
    config = load(TrainPOPI, path, [f"model={model}", f"data.path={data}", *SHORT])
    with Run.create(tmp_path / "run", "popi", asdict(config), config.seed) as run:
        made = train_popi(config, run, SilentProgress())
    stages = json.loads((tmp_path / "run" / "run.json").read_text())["stages"]
    generator = ["warm-generator"] * config.warm_start.generator
    assert {name: stage["steps"] for name, stage in stages.items()} == dict.fromkeys(
        ["warm-inference", *generator, "joint"], 1
    )
    for role in ("inference", "generator"):
        assert LocalModel.load(str(made.model / role)).generate(["hello"], max_new_tokens=2)


@representatives(filter(says_memory, FILES), "qwen3-0.6b")
def test_the_header_states_the_estimated_memory(path: Path, tmp_path: Path) -> None:
    config = load(TrainPOPI, path)
    if config.lora.load_in_4bit:
        pytest.importorskip("bitsandbytes")
    here = load(TrainPOPI, path, [f"model={published_shape(config.model, tmp_path / 'shape')}"])
    check_memory(path, estimate_stages(here, "cuda", "bfloat16"))


def test_every_config_for_a_real_model_states_its_memory() -> None:
    for path in FILES:
        assert says_memory(path) or not of_the_hub(load(TrainPOPI, path).model), path
