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
from personakit.config.train_popi import JointSettings
from personakit.popi.joint import train_jointly
from personakit.training.processes import process_count
from personakit.training.run import Run
from training.staging import staged

base, root, shared = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
for kind in ("joint", "alternating"):
    given = shared | {"schedule": kind, "gradient_accumulation_steps": 2 // process_count()}
    with Run.create(root / kind, "popi", {}, 1) as run:
        placed = staged(JointSettings, run, "joint", group_by_length=False, **given)
        train_jointly(base, users(), with_summary, *placed)
"""


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(tiny_folder: Path, tmp_path: Path, forked: ForkServer) -> None:
    settings = {"max_steps": 4, "per_device_train_batch_size": 2, "num_summaries": 3, "num_pairs": 3}
    settings |= {"max_summary_tokens": 2, "r": 4, "max_length": 64, "alternate_every": 2}
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
