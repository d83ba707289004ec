"""Runs work from any working folder; --dry-run checks --output; a finished run says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from personakit.errors import UserError
from personakit.files import cache_folder

from .conftest import Call

SHORT = (
    *("model=things/model", "base=things/model", "data.path=things/data", "data.tasks=[LaMP_7]"),
    *("stages=sft", "sft.max_steps=2", "sft.save_steps=1", "lora.r=0", "decoding.max_new_tokens=8"),
    "controls.fine_tuned_context_injection=false",
)


@pytest.fixture
def project(tiny_model: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data and model, from which a run is started with relative paths."""
    folder = tmp_path / "project"
    shutil.copytree(tiny_model, folder / "things" / "model")
    shutil.copytree(tiny_data, folder / "things" / "data")
    monkeypatch.chdir(folder)
    return folder


def test_a_run_is_used_and_resumed_from_another_folder(
    call: Call, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = project / "run"
    assert call("train", "rpo", *SHORT, "lora.r=4", "--output", run).status == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    inferred = call("infer", "--run", run, "--task", "LaMP_7", "gone")
    assert inferred.status == 0, inferred.err
    evaluated = call("eval", "lamp", "--run", run, "--task", "LaMP_7", "--baseline", "generic", "--limit", 1)
    assert evaluated.status == 0, evaluated.err
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(facts | {"status": "failed", "stages": {}}))
    shutil.rmtree(run / "model")
    resumed = call("train", "rpo", "--output", run, "--resume")
    assert resumed.status == 0, resumed.err
    assert (run / "model").is_dir()
    assert "data.path" not in resumed.err


def test_data_that_is_gone_is_named_with_the_run(call: Call, project: Path) -> None:
    run = project / "run"
    assert call("train", "rpo", *SHORT, "--output", run).status == 0
    shutil.rmtree(project / "things" / "data")
    failed = call("eval", "lamp", "--run", run)
    assert failed.status == 2
    assert f"{run}: its data, things/data, does not exist" in failed.err
    assert str(project) in failed.err
    assert "--data" in failed.err


def test_resuming_a_finished_run_says_so_and_trains_nothing(call: Call, project: Path) -> None:
    run = project / "run"
    assert call("train", "rpo", *SHORT, "--output", run).status == 0
    before = (run / "model" / "model.safetensors").stat().st_mtime_ns
    again = call("train", "rpo", "--output", run, "--resume")
    assert again.status == 0
    assert "is finished: there is nothing to resume" in again.err
    assert "generic answers" not in again.err
    assert (run / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_dry_run_checks_the_output(call: Call, project: Path) -> None:
    def dry(output: Path, *more: str) -> tuple[int, str]:
        done = call("train", "rpo", *SHORT, "--dry-run", "--output", output, *more)
        return done.status, done.err

    assert dry(project / "new" / "run")[0] == 0
    assert not (project / "new").exists()
    status, said = dry(project)
    assert (status, "is not empty and holds no run" in said) == (2, True)
    status, said = dry(project / "things" / "model" / "config.json" / "run")
    assert (status, "is not a folder" in said) == (2, True)
    status, said = dry(project, "--resume", "--config", "nano")
    assert (status, "holds no run to resume" in said) == (2, True)


def test_without_a_home_the_cache_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("PERSONAKIT_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(UserError, match="HOME is not set") as caught:
        cache_folder()
    assert "PERSONAKIT_CACHE" in caught.value.hint
