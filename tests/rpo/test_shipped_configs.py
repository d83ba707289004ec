"""Every configuration in configs/rpo is loaded, planned, and trained on a tiny random model.

Only paths, steps, batch sizes and lengths are overridden. New configurations are found automatically.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from models.architectures import make_stand_in
from models.server import Server, said
from models.shipped import (
    check_launch_line,
    check_memory,
    of_the_hub,
    published_shape,
    representatives,
    says_memory,
)

from personakit.config import TrainRPO, load
from personakit.config.loading import config_folder
from personakit.data.imports import import_data
from personakit.data.lamp_mini import generate
from personakit.models.local import LocalModel
from personakit.models.open import is_endpoint
from personakit.rpo.curriculum import curriculum_stages
from personakit.rpo.memory import estimate_stages
from personakit.rpo.train import check_plan

from .test_train import train

FILES = sorted((config_folder() / "rpo").glob("*.yaml"))
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)

SHORT = ["data.limit=2", "sft.max_steps=2", "rl.max_steps=2", "stages=all"]
SHORT += [
    "prompt_tokens=512",
    "controls.context_tokens=512",
    "sft.max_length=1024",
    "sft.per_device_train_batch_size=2",
]
SHORT += [
    "sft.gradient_accumulation_steps=1",
    "rl.gradient_accumulation_steps=1",
    "rl.per_device_train_batch_size=8",
    "rl.max_completion_length=8",
]
SHORT += ["trajectories.max_tokens=512", "decoding.max_new_tokens=8", "retrieval.k=2"]
"""Sizes and lengths."""


@pytest.fixture(scope="module")
def rewrites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few rewritten e-mails, imported as the header of configs/rpo/email.yaml says."""
    folder = tmp_path_factory.mktemp("rewrites")
    with (folder / "mails.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["user_id", "original", "revised"])
        for user in range(12):
            for number in range(4):
                text = f"please send mail {user} {number}"
                writer.writerow([user, text, f"Dear all, {text}. Best, {user}"])
    import_data(folder / "mails.csv", folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def lamp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tasks of LaMP, three users of the built-in benchmark."""
    folder = tmp_path_factory.mktemp("lamp") / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "USERS", {"train": 3, "dev": 1, "test": 1})
        patch.setattr(generate, "INSTRUCTIONS", {"lora": 2, "train": 2, "dev": 2, "test": 2})
        generate.write_benchmark(folder)
    return folder


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(lambda number, body: said("good"))
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    yield server
    server.stop()


@each_file
def test_the_configuration_is_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("personakit.models.smollm2.packaged_file", lambda: None)  # converting takes long
    config = load(TrainRPO, path)
    if config.lora.load_in_4bit:
        pytest.importorskip("bitsandbytes")
    check_plan(config)
    check_launch_line(path, "rpo", config.data.path)


@representatives(FILES, "nano", "qwen3-4b-24gb")
@pytest.mark.slow
def test_a_tiny_model_of_its_architecture_trains(
    path: Path, lamp: Path, rewrites: Path, api: Server, tmp_path: Path
) -> None:
    shipped = load(TrainRPO, path)
    if shipped.lora.load_in_4bit:
        pytest.importorskip("bitsandbytes")
    model = make_stand_in(shipped.model, tmp_path / "model")
    places = [f"model={model}", f"data.path={rewrites if shipped.data.tasks == ['rewriting'] else lamp}"]
    if not is_endpoint(shipped.base):
        base = model if shipped.base == shipped.model else make_stand_in(shipped.base, tmp_path / "base")
        places.append(f"base={base}")
    config = load(TrainRPO, path, [*places, *SHORT])
    train(tmp_path / "run", config)

    facts: dict[str, Any] = json.loads((tmp_path / "run" / "run.json").read_text())
    made = {name: stage["steps"] for name, stage in facts["stages"].items()}
    stages = len(curriculum_stages(config.rl.curriculum, config.retrieval.k))
    rl = {"rl": 2} if stages == 1 else {f"rl-{number + 1}": 2 // stages for number in range(stages)}
    control = ["context-injection"] * config.controls.fine_tuned_context_injection
    assert list(made) == ["sft", *rl, *control]
    assert made.items() >= ({"sft": 2} | rl).items()
    adapted = (tmp_path / "run" / "model" / "adapter_config.json").is_file()
    assert adapted == bool(config.lora.r)
    assert bool(api.bodies) == is_endpoint(shipped.base)
    assert len(LocalModel.load(str(tmp_path / "run" / "model")).generate(["hello"], max_new_tokens=4)) == 1


@representatives(filter(says_memory, FILES), "qwen3-0.6b")
def test_the_header_states_the_estimated_memory(path: Path, tmp_path: Path) -> None:
    """For one GPU in bfloat16, on the published configuration."""
    config = load(TrainRPO, path)
    if config.lora.load_in_4bit:
        pytest.importorskip("bitsandbytes")
    shape = published_shape(config.model, tmp_path / "shape")
    here = load(TrainRPO, path, [f"model={shape}", f"base={shape}", "stages=all"])
    check_memory(path, estimate_stages(here, "cuda", "bfloat16"), also={"generic answers": "when it answers"})


def test_every_config_for_a_real_model_states_its_memory() -> None:
    for path in FILES:
        assert says_memory(path) or not of_the_hub(load(TrainRPO, path).model), path
