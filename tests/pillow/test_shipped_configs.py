"""Every configuration in configs/pillow is loaded, planned, and trained on a tiny random model.

Only paths, steps, batch sizes and lengths are overridden. New configurations are found automatically.
"""

from __future__ import annotations

import json
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

from personakit.config import TrainPILLOW, load
from personakit.config.loading import config_folder
from personakit.data.instructions import write_instructions
from personakit.data.lamp_mini import generate
from personakit.pillow.matcher import load_matcher
from personakit.pillow.memory import estimate_stages
from personakit.pillow.train import check_plan

from .test_train import made, train

FILES = sorted((config_folder() / "pillow").glob("*.yaml"))
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)

SHORT = [
    "data.limit=4",
    "tuning.max_steps=2",
    "tuning.per_device_train_batch_size=2",
    "tuning.gradient_accumulation_steps=1",
    "rl.max_steps=2",
]
SHORT += ["tuning.max_length=512", "rl.batch_size=2", "rl.num_selections=2"]
"""Sizes and lengths."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tasks of LaMP, a few users of the built-in benchmark, and a few instructions with a pool."""
    folder = tmp_path_factory.mktemp("data") / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "USERS", {"train": 4, "dev": 1, "test": 1})
        patch.setattr(generate, "INSTRUCTIONS", {"lora": 6, "train": 4, "dev": 2, "test": 2})
        generate.write_benchmark(folder)
    write_instructions(folder / "instructions" / "pool.jsonl", made("pool", 5))
    return folder


@each_file
def test_the_configuration_is_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("personakit.models.smollm2.packaged_file", lambda: None)  # converting takes long
    config = load(TrainPILLOW, path)
    if config.lora.load_in_4bit:
        pytest.importorskip("bitsandbytes")
    check_plan(config)
    check_launch_line(path, "pillow", config.data.path)


@representatives(FILES, "lamp-items", "qwen3-4b-24gb")
@pytest.mark.slow
def test_a_tiny_model_of_its_architecture_trains(path: Path, data: Path, tmp_path: Path) -> None:
    shipped = load(TrainPILLOW, path)
    if shipped.lora.load_in_4bit:
        pytest.importorskip("bitsandbytes")
    model = make_stand_in(shipped.model, tmp_path / "model")
    layers = ["matcher.encoder=model:0,1,2"] if "4" in shipped.matcher.encoder else []  # it has two
    config = load(TrainPILLOW, path, [f"model={model}", f"data.path={data}", *layers, *SHORT])
    train(tmp_path / "run", config)
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    tuned = ["lora"] * config.tuning.enabled + ["full-fine-tuning"] * config.controls.full_fine_tuning
    assert list(facts["stages"]) == [*tuned, "matching"]
    network, about = load_matcher(tmp_path / "run" / "matcher")
    assert network.shape.m == config.matcher.m
    assert (about.pool is None) == bool(config.data.tasks)


@representatives(filter(says_memory, FILES), "llama-3.1-8b")
def test_the_header_states_the_estimated_memory(path: Path, tmp_path: Path) -> None:
    """For one GPU in bfloat16, on the published configuration."""
    config = load(TrainPILLOW, path)
    if config.lora.load_in_4bit:
        pytest.importorskip("bitsandbytes")
    here = load(TrainPILLOW, path, [f"model={published_shape(config.model, tmp_path / 'shape')}"])
    check_memory(path, estimate_stages(here, "cuda", "bfloat16"))


def test_every_config_for_a_real_model_states_its_memory() -> None:
    for path in FILES:
        assert says_memory(path) or not of_the_hub(load(TrainPILLOW, path).model), path
