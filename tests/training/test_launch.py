"""`accelerate launch -m personakit train rpo` on two processes; the shipped accelerate files."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli.tiny import make_data, make_model
from forking import Ended, ForkServer

from personakit.config import find_config, launch_files
from personakit.errors import UserError
from personakit.training import processes
from personakit.training.run import Run, find_runs, newest_run
from training.launching import launch_environment

LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"]
LAUNCH += ["--config_file", str(launch_files()["accelerate/ddp"])]
SETTINGS = ["lora.r=0", "sft.per_device_train_batch_size=2", "sft.save_steps=10", "decoding.max_new_tokens=4"]
SETTINGS += ["stages=sft"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("inputs")
    model, data = make_model(folder / "model"), make_data(folder / "data")
    return [f"model={model}", f"base={model}", f"data.path={data}", *SETTINGS]


def launched(*arguments: str, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*LAUNCH, "-m", "personakit", "train", "rpo", *arguments],
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path), "PERSONAKIT_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def task_metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


TRAIN = """
import os, signal, sys
from personakit.cli import main
from personakit.training import watch

if sys.argv[1] == "killed":
    mark = watch.mark_complete

    def die(folder):
        mark(folder)
        os.kill(os.getpid(), signal.SIGKILL)

    watch.mark_complete = die
sys.exit(main(["train", "rpo", *sys.argv[2:]]))
"""


@pytest.mark.slow
def test_killed_and_resumed_run_on_two_processes_equals_an_uninterrupted_one(
    inputs: list[str], tmp_path: Path, forked: ForkServer
) -> None:
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    environment = launch_environment("accelerate/ddp") | {"PERSONAKIT_CACHE": str(tmp_path / "cache")}

    def train(*arguments: str, end: str = "") -> Ended:
        return forked.run(TRAIN, end, *arguments, environment=environment, processes=2)

    first = train(*inputs, "sft.max_steps=20", "--output", str(alone))
    assert first.status == 0, first.err[-3000:]
    check_left_alone(first.out, first.err, alone)

    second = train(*inputs, "sft.max_steps=20", "--output", str(killed), end="killed")
    assert second.status == -signal.SIGKILL, second.err[-3000:]
    assert task_metrics(killed)["status"] == "running"
    assert find_runs(tmp_path)[0].status == "killed"
    assert newest_run(tmp_path, finished=False) == killed
    third = train("--output", str(killed), "--resume", "--quiet")
    assert third.status == 0, third.err[-3000:]
    for file in ("model/model.safetensors", "controls/context_injection/model.safetensors"):
        assert (alone / file).read_bytes() == (killed / file).read_bytes()
    assert task_metrics(killed)["stages"] == task_metrics(alone)["stages"]


def check_left_alone(out: str, err: str, folder: Path) -> None:
    """Check that one of the two processes wrote and printed, and that no metric occurs twice."""
    assert out == f"{folder}\n"
    assert err.count("next: personakit eval") == 1
    facts = task_metrics(folder)
    assert (facts["status"], facts["processes"]) == ("finished", 2)
    assert facts["trajectories"] == {"kept": 6, "users without history": 2}
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps[:2] == [10, 20]


@pytest.mark.extended
def test_accelerate_launch_trains_on_two_processes(inputs: list[str], tmp_path: Path) -> None:
    run = launched(*inputs, "sft.max_steps=20", "--output", str(tmp_path / "run"), cache=tmp_path / "cache")
    out, err = run.communicate(timeout=200)
    assert run.returncode == 0, err[-3000:]
    check_left_alone(out, err, tmp_path / "run")


@pytest.mark.slow
def test_bad_input_is_one_error_without_a_hang(inputs: list[str], tmp_path: Path) -> None:
    failed = launched(*inputs, "data.path=nowhere", "--output", str(tmp_path / "run"), cache=tmp_path)
    out, err = failed.communicate(timeout=120)
    assert failed.returncode != 0
    assert out == ""
    said = [line for line in err.splitlines() if line.startswith(("error:", "hint:", "process "))]
    assert len(said) == 2, err
    assert said[0].startswith("error: nowhere")
    # The rest is the launcher's report. Its exit status is 1, and the report contains ours.
    ours = err[: err.index("hint:")]
    assert "Traceback" not in ours
    assert re.search(r"exitcode\s*: 2\b", err)


FAILS_IN_ONE = """
import sys
from personakit.cli import main
from personakit.errors import RunError
from personakit.training.processes import is_main_process, wait_for_everyone

def app(**_):
    wait_for_everyone()
    if not is_main_process():
        raise RunError("the disk is full here", hint="free some")
    print("said by the first", file=sys.stderr, flush=True)
    wait_for_everyone()

cli = sys.modules["personakit.cli.main"]
cli.command_tree, cli._NOT_FIRST, cli._UNSURE = lambda _: app, 1.0, 20.0
sys.exit(main(["x"]))
"""


@pytest.mark.slow
def test_error_of_another_process_is_printed_once(forked: ForkServer) -> None:
    done = forked.run(FAILS_IN_ONE, environment=launch_environment("accelerate/ddp"), processes=2)
    assert done.status == 1
    assert "said by the first" in done.err
    assert "process 1 of 2:\nerror: the disk is full here\nhint: free some" in done.err
    assert done.err.count("error:") == 1


def test_one_process_needs_no_communication(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert (processes.process_count(), processes.process_rank(), processes.is_main_process()) == (1, 0, True)
    assert processes.from_main_process(lambda: "decided") == "decided"
    assert processes.map_over_processes([1, 2, 3], lambda some: [2 * each for each in some]) == [2, 4, 6]
    with processes.local_main_process_first():
        pass
    processes.wait_for_everyone()


def test_resuming_with_another_number_of_processes_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Run.create(tmp_path / "a", "rpo", {}, 0):
        pass
    facts = task_metrics(tmp_path / "a")
    (tmp_path / "a" / "run.json").write_text(json.dumps(facts | {"processes": 4}))
    with pytest.raises(UserError, match="began on 4 processes, but there are now 1"):
        Run.create(tmp_path / "a", "rpo", {}, 0, resume=True)


def test_only_the_main_process_writes_files(tmp_path: Path) -> None:
    with Run.create(tmp_path / "a", "rpo", {"k": 1}, 3) as first:
        before = (first.folder / "run.json").read_bytes()
        other = Run(first.folder, dict(first.facts), lock=None)
        assert (first.writes, other.writes, other.seed) == (True, False, 3)
        with other:
            other.record(device="cpu")
            other.mark_stage("sft", {"tokens": 1})
            other.log_metrics("sft", 1, loss=1.0)
            other.rewind_metrics("sft", 0)
        assert other.stage_done("sft") == {"tokens": 1}
        assert (first.folder / "run.json").read_bytes() == before
        assert not (first.folder / "metrics.jsonl").exists()


@pytest.mark.parametrize("name", sorted(launch_files()))
def test_accelerate_loads_every_shipped_file(name: str) -> None:
    from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file

    path = launch_files()[name]
    assert find_config(name) == path
    read = load_config_from_file(str(path))
    assert isinstance(read, ClusterConfig)
    values = yaml.safe_load(path.read_text())
    assert values.keys() <= {field.name for field in fields(ClusterConfig)}
    assert "mixed_precision" not in values  # personakit decides
    header = path.read_text().split("\n\n")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert f"accelerate launch --config_file configs/{name}.yaml" in header
    assert "Needs" in header
    assert "Costs" in header


def test_fsdp2_file_configures_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the environment variables that the launcher derives from the file."""
    from accelerate import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import StateDictType

    for variable, value in launch_environment("accelerate/fsdp2").items():
        monkeypatch.setenv(variable, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.state_dict_type == StateDictType.FULL_STATE_DICT  # save_pretrained gives a plain folder
    assert plugin.auto_wrap_policy.__name__ == "transformer_auto_wrap_policy"
    assert plugin.reshard_after_forward is True
    assert not plugin.activation_checkpointing


def test_zero3_file_configures_deepspeed() -> None:
    """deepspeed is not a dependency, so this checks the configuration that accelerate passes to it."""
    environment = launch_environment("accelerate/zero3", deepspeed=True)
    assert environment["ACCELERATE_USE_DEEPSPEED"] == "true"
    assert environment["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == "3"
    assert environment["ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL"] == "true"
    assert environment["ACCELERATE_DEEPSPEED_ZERO3_INIT"] == "false"
