from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from personakit.errors import RunError, UserError
from personakit.training.run import Run, find_runs, newest_run

CONFIG = {"model": "nano", "sft": {"learning_rate": 1e-3, "epochs": 2}, "tasks": ["LaMP_1"]}


def lines(run: Run) -> list[tuple[str, int]]:
    text = (run.folder / "metrics.jsonl").read_text()
    return [(line["stage"], line["step"]) for line in map(json.loads, text.splitlines())]


def test_run_records_its_configuration(tmp_path: Path) -> None:
    with Run.create(tmp_path / "a", "rpo", CONFIG, 7) as run:
        run.record(data_fingerprint="abc", device="cpu")
        run.mark_stage("sft", {"tokens": 5})
        assert json.loads((run.folder / "run.json").read_text())["status"] == "running"
    facts = json.loads((tmp_path / "a" / "run.json").read_text())
    assert facts["status"] == "finished"
    assert facts["seed"] == 7
    assert facts["data_fingerprint"] == "abc"
    assert facts["stages"] == {"sft": {"tokens": 5}}
    assert {"personakit", "torch", "transformers", "trl"} <= facts["versions"].keys()
    assert facts["seconds"] > 0
    from omegaconf import OmegaConf

    assert OmegaConf.to_container(OmegaConf.load(tmp_path / "a" / "config.yaml")) == CONFIG


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, "interrupted"), (ZeroDivisionError, "failed")]
)
def test_status_is_recorded(tmp_path: Path, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), Run.create(tmp_path / "a", "rpo", CONFIG, 0):
        raise error
    assert find_runs(tmp_path)[0].status == status


def test_bad_input_before_any_work_removes_the_folder(tmp_path: Path) -> None:
    bad = UserError("no such data", hint="name another")
    create = partial(Run.create, tmp_path / "a", "rpo", CONFIG, 0)

    def stopped(error: UserError, make: Callable[[Run], object] = str, *, resume: bool = False) -> str | None:
        """Return the status of a run that was stopped after `make`, or None."""
        with contextlib.suppress(UserError), create(resume=resume) as run:
            make(run)
            raise error
        statuses = [found.status for found in find_runs(tmp_path)]
        assert bool(statuses) == (tmp_path / "a").exists()
        shutil.rmtree(tmp_path / "a", ignore_errors=True)
        return statuses[0] if statuses else None

    assert stopped(bad) is None
    assert stopped(bad, lambda run: run.record(data_fingerprint="abc")) is None
    assert stopped(bad, lambda run: run.log_metrics("sft", 1, loss=2.0)) == "failed"
    assert stopped(bad, lambda run: (run.folder / "drafts.jsonl").touch()) == "failed"
    assert stopped(bad, lambda run: run.record(endpoints={"base": "http://127.0.0.1"})) == "failed"
    assert stopped(RunError("the server died", hint="start it")) == "failed"
    with pytest.raises(KeyboardInterrupt), create():
        raise KeyboardInterrupt
    assert stopped(bad, resume=True) == "failed"


def test_existing_folders_and_files_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.chdir(own)
    for folder in (own, Path()):
        with pytest.raises(UserError, match="bad"), Run.create(folder, "rpo", CONFIG, 0):
            raise UserError("bad", hint="better")
        assert list(own.iterdir()) == []
    (own / "config.yaml").write_text("mine: true")
    with pytest.raises(UserError, match="is not empty and holds no run"):
        Run.create(own, "rpo", CONFIG, 0)
    assert [(path.name, path.read_text()) for path in own.iterdir()] == [("config.yaml", "mine: true")]


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    with Run.create(tmp_path / "a", "rpo", CONFIG, 0):
        pass
    with pytest.raises(UserError, match=r"already holds a run \(finished\)"):
        Run.create(tmp_path / "a", "rpo", CONFIG, 0)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep me")
    with pytest.raises(UserError, match="is not empty and holds no run"):
        Run.create(tmp_path / "notes", "rpo", CONFIG, 0)


def test_resuming_keeps_seed_stages_and_adds_up_seconds(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", "rpo", CONFIG, 7)
    run.mark_stage("generic", {"answers": 3})
    with pytest.raises(KeyboardInterrupt), run:
        raise KeyboardInterrupt
    before = json.loads((tmp_path / "a" / "run.json").read_text())
    with Run.create(tmp_path / "a", "rpo", CONFIG, 7, resume=True) as run:
        assert run.stage_done("generic") == {"answers": 3}
        assert run.stage_done("sft") is None
        time.sleep(0.01)  # seconds have three digits
    after = json.loads((tmp_path / "a" / "run.json").read_text())
    assert (after["seed"], after["created"]) == (7, before["created"])
    assert after["seconds"] > before["seconds"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sft": {"learning_rate": 1e-4, "epochs": 2}}, r"sft\.learning_rate=0\.001.*is now 0\.0001"),
        ({"sft": {"learning_rate": 1e-3}}, r"sft\.epochs=2.*is now \(not set\)"),
        ({"new": 1}, r"new=\(not set\).*is now 1"),
    ],
)
def test_resuming_with_another_configuration_names_the_key(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with Run.create(tmp_path / "a", "rpo", CONFIG, 0):
        pass
    with pytest.raises(UserError, match=message):
        Run.create(tmp_path / "a", "rpo", CONFIG | change, 0, resume=True)
    with pytest.raises(UserError, match="holds a run of rpo, not of popi"):
        Run.create(tmp_path / "a", "popi", CONFIG, 0, resume=True)
    with Run.create(tmp_path / "a", "rpo", CONFIG, 0, resume=True):
        pass  # the errors have released the lock


def test_resuming_a_missing_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run to resume"):
        Run.create(tmp_path / "a", "rpo", CONFIG, 0, resume=True)
    assert not (tmp_path / "a").exists()


def test_two_processes_do_not_share_a_run(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from personakit.errors import UserError\n"
        "from personakit.training.run import Run\n"
        "try: Run.create(pathlib.Path(sys.argv[1]), 'rpo', {}, 0, resume=True)\n"
        "except UserError as error: print(error)\n"
    )
    with Run.create(tmp_path / "a", "rpo", {}, 0):
        said = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "a")], capture_output=True, text=True, check=True
        )
    assert "is open in another process" in said.stdout


def test_metrics_are_rewound_to_the_checkpoint(tmp_path: Path) -> None:
    with Run.create(tmp_path / "a", "rpo", CONFIG, 0) as run:
        run.log_metrics("warm", 30, loss=3.0)
        for step in (10, 20, 30):
            run.log_metrics("sft", step, loss=1.0 / step)
        with (run.folder / "metrics.jsonl").open("a") as handle:
            handle.write('{"stage": "sft", "st')  # incomplete
        run.rewind_metrics("sft", 20)
        assert lines(run) == [("warm", 30), ("sft", 10), ("sft", 20)]
        run.log_metrics("sft", 30, loss=0.1)
        assert lines(run)[-1] == ("sft", 30)


def test_damaged_run_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run.json").write_text('{"method": "rpo",')
    with pytest.raises(UserError, match=r"run\.json, line 1: not JSON"):
        Run.create(tmp_path / "a", "rpo", CONFIG, 0, resume=True)
    (tmp_path / "a" / "run.json").write_text('{"method": "rpo"}')
    with pytest.raises(UserError, match=r'run\.json: "status" is missing'):
        find_runs(tmp_path)


def test_newest_run_by_method_and_status(tmp_path: Path) -> None:
    assert newest_run(tmp_path / "nothing") is None
    for name, method in (("z-old", "rpo"), ("a-new", "rpo"), ("other", "popi")):
        with Run.create(tmp_path / name, method, CONFIG, 0):
            pass
    with pytest.raises(KeyboardInterrupt), Run.create(tmp_path / "stopped", "rpo", CONFIG, 0):
        raise KeyboardInterrupt
    assert newest_run(tmp_path, "rpo") == tmp_path / "a-new"
    assert newest_run(tmp_path) == tmp_path / "other"
    assert newest_run(tmp_path, "rpo", finished=False) == tmp_path / "stopped"
    assert newest_run(tmp_path, finished=None) == tmp_path / "stopped"


def test_default_folder_has_method_and_time(tmp_path: Path) -> None:
    with Run.create(None, "rpo", CONFIG, 0, root=tmp_path) as run:
        assert run.folder.parent == tmp_path
        assert run.folder.name.startswith("rpo-20")
