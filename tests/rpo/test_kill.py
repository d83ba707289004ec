"""`personakit train rpo`, killed by SIGKILL in each of its stages and resumed, ends as if left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Everything is imported once and then forked: importing costs far more than these runs do.
SCRIPT = """
import json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import trl, peft
from personakit.cli import main
from personakit.models.local import LocalModel
from personakit.training import supervised
from personakit.training.run import Run

root, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
generate = LocalModel.generate

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def dies_in_the_second_request():
    asked = []
    def counted(self, prompts, **how):
        asked.append(prompts)
        if len(asked) == 2:
            die()
        return generate(self, prompts, **how)
    LocalModel.generate = counted

def dies_after_a_line_of(wanted):
    log = Run.log_metrics
    def log_metrics(self, stage, step, **values):
        log(self, stage, step, **values)
        if (stage, step) == (wanted, 20):
            die()
    Run.log_metrics = log_metrics

def attempt(name, *options, death=None):
    child = os.fork()
    if child == 0:
        os.environ["PERSONAKIT_CACHE"] = str(root / name / "cache")
        asked = []
        if death is not None:
            death()
        inner = LocalModel.generate
        def told(self, prompts, **how):
            asked.extend(prompts)
            return inner(self, prompts, **how)
        LocalModel.generate = told
        status = main(["train", "rpo", "--output", str(root / name / "run"), "--quiet", *options])
        (root / name / "asked.json").write_text(json.dumps(len(asked)))
        os._exit(status)
    status = os.waitpid(child, 0)[1]
    assert (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL) if death else status == 0, (
        name, death, status
    )

attempt("alone", *settings)
attempt("killed", *settings, death=dies_in_the_second_request)
attempt("killed", "--resume", death=lambda: dies_after_a_line_of("sft"))
attempt("killed", "--resume", death=lambda: dies_after_a_line_of("context-injection"))
attempt("killed", "--resume")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_killed_in_every_stage_ends_with_the_same_bytes(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    settings = [f"model={tiny_model}", f"base={tiny_model}", f"data.path={tiny_data}", "lora.rank=0"]
    settings += ["sft.steps=25", "sft.batch_size=2", "sft.checkpoint_every=10", "decoding.max_new_tokens=4"]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), json.dumps(settings)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    for file in ("model/model.safetensors", "controls/context_injection/model.safetensors"):
        assert (alone / "run" / file).read_bytes() == (killed / "run" / file).read_bytes()
    facts = [json.loads((each / "run" / "run.json").read_text()) for each in (alone, killed)]
    assert facts[0]["stages"] == facts[1]["stages"]
    assert facts[0]["trajectories"] == facts[1]["trajectories"]
    assert {each["status"] for each in facts} == {"finished"}
    # Six queries were asked when left alone; in the end all answers came from the cache.
    assert json.loads((alone / "asked.json").read_text()) == 6
    assert json.loads((killed / "asked.json").read_text()) == 0
