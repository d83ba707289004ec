"""A base model behind a real OpenAI-compatible server: `transformers serve` with nano."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli.tiny import make_model

from personakit.cli import main
from personakit.data import open_examples
from personakit.errors import RunError
from personakit.models.endpoint import EndpointModel
from personakit.models.local import LocalModel
from personakit.models.nano import FOLDER as NANO_FOLDER
from personakit.models.retries import RetryPolicy
from personakit.tasks import get_task

pytest.importorskip("fastapi", reason="transformers serve needs its `serving` extra")
pytest.importorskip("uvicorn", reason="transformers serve needs its `serving` extra")
pytest.importorskip("openai", reason="transformers serve needs its `serving` extra")

# The server needs a chat template; nano has none, and is served its prompts as they are.
_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


@dataclass(frozen=True)
class Served:
    folder: Path
    url: str
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("served")
    folder = Path(shutil.copytree(NANO_FOLDER, place / "nano"))
    (folder / "chat_template.jinja").write_text(_TEMPLATE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    command += ["--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)]
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **quiet}, stdout=log, stderr=log)
    try:
        _wait_until_it_answers(f"http://127.0.0.1:{port}/health", process, place / "log")
        yield Served(folder, f"http://127.0.0.1:{port}/v1", process)
    finally:
        process.kill()
        process.wait()


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(1200):
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"no answer from {url} in two minutes")


@pytest.mark.slow
@pytest.mark.usefixtures("lamp_mini")
def test_a_served_model_answers_as_the_local_one(served: Served) -> None:
    store = open_examples("lamp-mini", "LaMP_5", "dev")
    prompts = [get_task("LaMP_5").prompt(store[number].query) for number in range(6)]
    remote = EndpointModel(str(served.folder), base_url=served.url, concurrency=2)
    local = LocalModel.load(str(served.folder), device="cpu")
    answers = remote.generate(prompts, max_new_tokens=12)
    assert answers == local.generate(prompts, max_new_tokens=12)
    assert len({row[0] for row in answers}) == 6


@pytest.mark.slow
@pytest.mark.usefixtures("lamp_mini")
def test_a_rewriter_is_trained_before_a_served_base_until_the_server_dies(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_BASE_URL", served.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-never-shown")
    model = make_model(tmp_path / "model")
    train = [
        "train",
        "rpo",
        f"model={model}",
        f"base=openai:{served.folder}",
        "data.tasks=[LaMP_3,LaMP_5]",
        "data.limit=3",
    ]
    train += [
        "stages=sft",
        "sft.max_steps=1",
        "sft.per_device_train_batch_size=2",
        "decoding.max_new_tokens=8",
    ]
    train += ["controls.fine_tuned_context_injection=false", "endpoint.requests_at_once=2"]
    assert main([*train, "--output", "run"]) == 0, capsys.readouterr().err
    served.process.kill()
    served.process.wait()
    # All its answers are here: the same again asks nobody.
    assert main([*train, "--output", "again"]) == 0, capsys.readouterr().err
    with pytest.raises(RunError, match="it cannot be reached"):
        EndpointModel("m", base_url=served.url, retry_policy=RetryPolicy(attempts=1)).generate(
            ["new"], max_new_tokens=2
        )
    printed = capsys.readouterr()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"sk-never-shown" in path.read_bytes() for path in files)
    assert "sk-never-shown" not in printed.out + printed.err
