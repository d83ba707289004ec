"""`personakit train pillow`: dry run and bad input."""

from __future__ import annotations

from pathlib import Path

import pytest

from personakit.data.instructions import write_instructions
from personakit.records import Instruction

from .conftest import Call


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for split, count in {"lora": 6, "train": 5, "pool": 4}.items():
        made = [Instruction(f"{split}{n}", f"Spell {split}.", f"{n}", f"{split} {n}") for n in range(count)]
        write_instructions(tmp_path / "data" / "instructions" / f"{split}.jsonl", made)
    return tmp_path / "data"


def test_a_dry_run_counts_instructions_and_prompts_and_writes_nothing(
    call: Call, tiny_model: Path, data: Path, tmp_path: Path
) -> None:
    settings = (f"model={tiny_model}", f"data.path={data}", "data.held_out=2")
    done = call("train", "pillow", *settings, "--dry-run", "--json")
    assert done.status == 0, done.err
    counts = {"tuning": 6, "matching": 3, "held_out": 2, "prompts": 4, "kept_out": 0}
    assert done.document["instructions"] == counts
    stages = [each["stage"] for each in done.document["memory"]]
    assert stages[:3] == ["LoRA", "full fine-tuning", "rewards"]
    assert not (tmp_path / "runs").exists()


def test_more_prompts_than_available_is_an_error(call: Call, tiny_model: Path, data: Path) -> None:
    done = call("train", "pillow", f"model={tiny_model}", f"data.path={data}", "matcher.m=5", "--dry-run")
    assert done.status == 2
    assert "5 prompts from a pool of 4" in done.err
    assert done.err.count("\n") == 2
