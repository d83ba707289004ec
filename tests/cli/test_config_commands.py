"""`personakit config`, settings files and overrides."""

from __future__ import annotations

from pathlib import Path

import pytest

from personakit.config import TrainRPO, load, to_yaml
from personakit.errors import UserError
from personakit.methods import METHODS

from .conftest import Call


def test_list_names_every_shipped_config(call: Call) -> None:
    names = [entry["name"] for entry in call("config", "list", "--json").document]
    assert {"rpo/smollm2", "rpo/nano"} <= set(names)
    assert names == sorted(names)


def test_show_is_a_config_file_that_resolves_to_the_same_settings(call: Call, tmp_path: Path) -> None:
    shown = tmp_path / "shown.yaml"
    shown.write_text(call("config", "show", "rpo/qwen3-8b", "sft.learning_rate=1e-5").out)
    expected = call("config", "check", "rpo/qwen3-8b", "sft.learning_rate=1e-5", "--json").document
    assert call("config", "check", shown, "--json").document == expected
    assert expected["sft"]["learning_rate"] == 1e-5  # PyYAML alone reads a string here


def test_copy_gives_an_equal_file_and_refuses_to_overwrite(call: Call, tmp_path: Path) -> None:
    target = tmp_path / "mine.yaml"
    assert call("config", "copy", "rpo/email", target).status == 0
    target.write_text("seed: 3\n")
    refused = call("config", "copy", "rpo/email", target)
    assert refused.status == 2
    assert "exists already" in refused.err
    assert target.read_text() == "seed: 3\n"


def test_later_overrides_win_and_the_file_wins_over_defaults(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("sft:\n  per_device_train_batch_size: 3\n  max_steps: 7\n")
    config = load(TrainRPO, path, ["sft.max_steps=8", "sft.max_steps=9"])
    assert (config.sft.per_device_train_batch_size, config.sft.max_steps) == (3, 9)
    assert config.retrieval.k == TrainRPO().retrieval.k


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_runs_config_yaml_reads_back(method: str, tmp_path: Path) -> None:
    config = load(METHODS[method].settings, None, ["seed=5"])
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert load(METHODS[method].settings, path) == config


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(UserError, match="Did you mean: 'learning_rate'"):
        load(TrainRPO, None, ["sft.learning_rat=1"])
