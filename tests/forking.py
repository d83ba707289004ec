"""A process that has imported what training imports, and forks for every script it is given.

Importing costs several seconds, the tiny trainings of such a script less: one server serves all tests.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What commands and stages import late.
MODULES = (
    "datasets",
    "pandas",
    "peft.tuners.lora",
    "rouge_score.rouge_scorer",
    "sklearn.metrics",
    "torch._dynamo",
    "transformers.models.auto.processing_auto",
    "transformers.models.llama.modeling_llama",
    "trl.trainer.dpo_trainer",
    "trl.trainer.grpo_trainer",
    "trl.trainer.rloo_trainer",
    "trl.trainer.sft_trainer",
    "personakit.cli.train",
    "personakit.methods",
    "personakit.pillow.train",
    "personakit.popi.train",
    "personakit.rpo.train",
)

_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
}


@dataclass(frozen=True)
class Ended:
    """How a script ended; the outputs are those of all its processes, in order of rank."""

    status: int
    """The first that is not 0: an exit status, or a signal as a negative number."""
    out: str
    err: str


class ForkServer:
    """The parent of scripts."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "forking"],
            env=os.environ | _ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(
        self,
        script: str,
        *arguments: str,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        processes: int = 1,
        timeout: float = 300,
    ) -> Ended:
        """Run a Python script with `arguments` in forked processes, several as a launcher starts them."""
        with tempfile.TemporaryDirectory() as outputs:
            job = {"script": script, "arguments": arguments, "processes": processes, "outputs": outputs}
            job |= {"cwd": str(cwd or Path.cwd())}
            job |= {"environment": {**os.environ, **_ENVIRONMENT, **(environment or {})}}
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            print(json.dumps(job), file=self._process.stdin, flush=True)
            if not select.select([self._process.stdout], [], [], timeout)[0]:
                self.stop()
                raise TimeoutError(f"a script took more than {timeout} seconds")
            status = self._process.stdout.readline()
            assert status, "the server has ended; what it said is on stderr"
            out, err = (
                "".join(Path(outputs, f"{name}{rank}").read_text() for rank in range(processes))
                for name in ("out", "err")
            )
        return Ended(int(status), out, err)

    def stop(self) -> None:
        """End it and everything it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _serve() -> None:
    """Run the jobs that stand on the input, one a line; answer each with its status."""
    import torch

    torch.set_num_threads(1)
    for name in MODULES:
        importlib.import_module(name)
    gc.freeze()  # no child's collection walks, and so copies, what all of them share
    for line in sys.stdin:
        print(_status_of(json.loads(line)), flush=True)


def _status_of(job: dict[str, Any]) -> int:
    ranks: list[dict[str, str]] = [{}]
    if job["processes"] > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        group = {"WORLD_SIZE": str(job["processes"]), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        ranks = [group | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(job["processes"])]
    running = {}
    for rank, variables in enumerate(ranks):
        child = os.fork()
        if child == 0:
            _run(job, rank, job["environment"] | variables)
        running[child] = rank
    failed = 0
    while running:
        child, status = os.waitpid(-1, 0)
        running.pop(child)
        if status and not failed:
            failed = os.waitstatus_to_exitcode(status)
            for other in running:  # they would wait for it for ever
                os.kill(other, signal.SIGKILL)
    return failed


def _run(job: dict[str, Any], rank: int, environment: dict[str, str]) -> None:
    """Become the script; never returns."""
    status = 1
    try:
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(Path(job["outputs"], f"{name}{rank}"), os.O_WRONLY | os.O_CREAT), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(job["cwd"])
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["script", *job["arguments"]]
        exec(compile(job["script"], "<script>", "exec"), {"__name__": "__main__"})
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - told to whoever asked, as by a Python of its own
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
