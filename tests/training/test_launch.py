"""`accelerate launch -m personakit train rpo` on two processes, as a user starts it; the shipped files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from cli.tiny import make_data, make_model

from personakit.config import find_config, launch_files
from personakit.errors import UserError
from personakit.training import processes
from personakit.training.run import Run, find_runs, newest_run

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


def facts_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


@pytest.mark.slow
def test_a_run_on_two_processes_killed_and_resumed_ends_as_if_left_alone(
    inputs: list[str], tmp_path: Path
) -> None:
    alone, killed, cache = tmp_path / "alone", tmp_path / "killed", tmp_path / "cache"
    settings = [*inputs, "sft.max_steps=40"]
    first = launched(*settings, "--output", str(alone), cache=cache)
    out, err = first.communicate(timeout=200)
    assert first.returncode == 0, err[-3000:]
    assert out == f"{alone}\n"  # printed by one of them
    assert err.count("next: personakit eval") == 1
    facts = facts_of(alone)
    assert (facts["status"], facts["processes"]) == ("finished", 2)
    assert facts["trajectories"] == {"kept": 6, "users without history": 2}
    steps = [json.loads(line)["step"] for line in (alone / "metrics.jsonl").read_text().splitlines()]
    assert steps[:4] == [10, 20, 30, 40]  # no line twice

    second = launched(*settings, "--output", str(killed), cache=cache)
    deadline = time.monotonic() + 200
    while not list(killed.glob("checkpoints/sft/checkpoint-*/complete")):
        assert second.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    # The workers too: the launcher starts them in sessions of their own.
    for process in [*psutil.Process(second.pid).children(recursive=True), second]:
        process.kill()
    second.communicate()
    wait_until_ended(killed)
    assert facts_of(killed)["status"] == "running"
    assert find_runs(tmp_path)[0].status == "killed"
    assert newest_run(tmp_path, finished=False) == killed
    third = launched("--output", str(killed), "--resume", "--quiet", cache=cache)
    out, err = third.communicate(timeout=200)
    assert third.returncode == 0, err[-3000:]
    for file in ("model/model.safetensors", "controls/context_injection/model.safetensors"):
        assert (alone / file).read_bytes() == (killed / file).read_bytes()
    assert facts_of(killed)["stages"] == facts["stages"]


def wait_until_ended(folder: Path) -> None:
    """The kernel takes a moment to end a process and free its lock."""
    deadline = time.monotonic() + 20
    while find_runs(folder.parent)[0].status == "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_bad_input_is_one_sentence_and_no_hang(inputs: list[str], tmp_path: Path) -> None:
    began = time.monotonic()
    failed = launched(*inputs, "data.path=nowhere", "--output", str(tmp_path / "run"), cache=tmp_path)
    out, err = failed.communicate(timeout=120)
    assert time.monotonic() - began < 100
    assert failed.returncode != 0
    assert out == ""
    said = [line for line in err.splitlines() if line.startswith(("error:", "hint:", "process "))]
    assert len(said) == 2, err
    assert said[0].startswith("error: nowhere")
    # What comes after is the launcher's own report. Its status is 1; ours stands in it.
    ours = err[: err.index("hint:")]
    assert "Traceback" not in ours
    assert re.search(r"exitcode\s*: 2\b", err)


@pytest.mark.slow
def test_an_error_of_another_process_alone_is_told_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from personakit.cli import main\n"
        "from personakit.errors import RunError\n"
        "from personakit.training.processes import is_first, wait_for_all\n"
        "def app(**_):\n"
        "    wait_for_all()\n"
        "    if not is_first():\n"
        "        raise RunError('the disk is full here', hint='free some')\n"
        "    print('said by the first', file=sys.stderr)\n"
        "    wait_for_all()\n"
        "cli = sys.modules['personakit.cli.main']\n"
        "cli.command_tree, cli._NOT_FIRST, cli._UNSURE = lambda _: app, 1.0, 20.0\n"
        "sys.exit(main(['x']))\n"
    )
    done = subprocess.run(
        [*LAUNCH, str(script)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert "said by the first" in done.stderr
    assert "process 1 of 2:\nerror: the disk is full here\nhint: free some" in done.stderr
    assert done.stderr.count("error:") == 1
    assert re.search(r"exitcode\s*: 1\b", done.stderr)


def test_on_one_process_nothing_is_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert (processes.process_count(), processes.process_rank(), processes.is_first()) == (1, 0, True)
    assert processes.from_first(lambda: "decided") == "decided"
    assert processes.in_shares([1, 2, 3], lambda some: [2 * each for each in some]) == [2, 4, 6]
    with processes.first_on_this_machine():
        pass
    processes.wait_for_all()


def test_resuming_on_another_number_of_processes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Run.create(tmp_path / "a", "rpo", {}, 0):
        pass
    facts = facts_of(tmp_path / "a")
    (tmp_path / "a" / "run.json").write_text(json.dumps(facts | {"processes": 4}))
    with pytest.raises(UserError, match="began on 4 processes, and there are now 1"):
        Run.create(tmp_path / "a", "rpo", {}, 0, resume=True)


def test_the_others_hold_the_run_and_write_nothing(tmp_path: Path) -> None:
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
def test_accelerate_reads_every_shipped_file_and_its_header_says_how_to_launch(name: str) -> None:
    from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file

    path = launch_files()[name]
    assert find_config(name) == path
    read = load_config_from_file(str(path))
    assert isinstance(read, ClusterConfig)
    values = yaml.safe_load(path.read_text())
    assert values.keys() <= {field.name for field in fields(ClusterConfig)}
    assert "mixed_precision" not in values  # decided by personakit, once
    header = path.read_text().split("\n\n")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert f"accelerate launch --config_file configs/{name}.yaml" in header
    assert "Needs" in header
    assert "Costs" in header


def test_the_fsdp2_file_makes_the_plugin_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the launcher's own translation into environment variables."""
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


def test_the_zero3_file_makes_the_configuration_it_says() -> None:
    """deepspeed itself is not a dependency: what accelerate hands to it is looked at."""
    told = launch_environment("accelerate/zero3", deepspeed=True)
    assert told["ACCELERATE_USE_DEEPSPEED"] == "true"
    assert told["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == "3"
    assert told["ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL"] == "true"
    assert told["ACCELERATE_DEEPSPEED_ZERO3_INIT"] == "false"


def launch_environment(name: str, *, deepspeed: bool = False) -> dict[str, str]:
    """What `accelerate launch --config_file NAME` would set for each process."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    words = ["--config_file", str(launch_files()[name]), "--main_process_port", "0", "-m", "personakit"]
    arguments = _validate_launch_command(launch_command_parser().parse_args(words))[0]
    if not deepspeed:
        return prepare_multi_gpu_env(arguments)
    arguments.deepspeed_fields_from_accelerate_config = ""
    return prepare_deepspeed_cmd_env(arguments)[1]
