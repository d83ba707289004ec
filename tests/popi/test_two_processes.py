"""Two processes train POPI's joint stage as one does, the same users in the same steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from forking import ForkServer
from safetensors.torch import load_file

SCRIPT = """
import json, sys
from pathlib import Path
from popi.codes import users, with_summary
from personakit.popi.joint import JointSettings, train_jointly
from personakit.training.run import Run

base, root, shared = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
for kind in ("joint", "alternating"):
    settings = JointSettings(**shared, schedule=kind)
    with Run.create(root / kind, "popi", {}, 1) as run:
        train_jointly(base, users(), with_summary, settings, run, "joint")
"""


@pytest.mark.slow
def test_two_processes_end_where_one_does(tiny_folder: Path, tmp_path: Path, forked: ForkServer) -> None:
    settings = {"max_steps": 4, "batch_size": 4, "micro_batch_size": 2, "summaries": 3, "pairs": 3}
    settings |= {"summary_tokens": 2, "lora_rank": 4, "max_length": 64, "alternate_every": 2}
    rates = {"learning_rate": 5e-3, "generator_learning_rate": 5e-3, "device": "cpu", "dtype": "float32"}
    for name, processes in (("one", 1), ("two", 2)):
        arguments = (str(tiny_folder), str(tmp_path / name), json.dumps(settings | rates))
        done = forked.run(SCRIPT, *arguments, environment={"ACCELERATE_USE_CPU": "true"}, processes=processes)
        assert done.status == 0, done.err[-3000:]
    for kind in ("joint", "alternating"):
        runs = [tmp_path / name / kind for name in ("one", "two")]
        assert [json.loads((run / "run.json").read_text())["processes"] for run in runs] == [1, 2]
        for role in ("inference", "generator"):
            one, two = (load_file(run / "model" / role / "adapter_model.safetensors") for run in runs)
            assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5
        rewards = [[json.loads(line)["reward"] for line in (run / "metrics.jsonl").open()] for run in runs]
        assert rewards[0] == pytest.approx(rewards[1], abs=1e-5)
