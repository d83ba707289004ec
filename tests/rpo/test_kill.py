"""`personakit train rpo`, killed with SIGKILL in each stage and resumed, equals an uninterrupted run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from forking import ForkServer

SCRIPT = """
import json, os, signal, sys
from pathlib import Path
from personakit.cli import main
from personakit.models.local import LocalModel
from personakit.rpo import reinforce
from personakit.training import supervised
from personakit.training.group_rl import RewardFunction
from personakit.training.run import Run

root, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
generate = LocalModel.generate

def letters(completions, **_):
    return [len(set(text)) / 8 for text in completions]

# Random weights never write a tag: this reward is the number of different letters.
reinforce.reward_functions = lambda weight, traced: [RewardFunction(letters, name="task")]

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

def dies_after_a_line_of(wanted, last=10):
    log = Run.log_metrics
    def log_metrics(self, stage, step, **values):
        log(self, stage, step, **values)
        if (stage, step) == (wanted, last):
            die()
    Run.log_metrics = log_metrics

def dies_when_this_is_done(stage):
    mark = Run.mark_stage
    def mark_stage(self, name, result):
        mark(self, name, result)
        if name == stage:
            die()
    Run.mark_stage = mark_stage

def dies_before_this_is_marked(stage):
    mark = Run.mark_stage
    Run.mark_stage = lambda self, name, result: die() if name == stage else mark(self, name, result)

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
attempt("killed", "--resume", death=lambda: dies_after_a_line_of("rl-1", 3))
attempt("killed", "--resume", death=lambda: dies_when_this_is_done("rl-1"))
attempt("killed", "--resume", death=lambda: dies_before_this_is_marked("rl-2"))
attempt("killed", "--resume", death=lambda: dies_when_this_is_done("rl-2"))
attempt("killed", "--resume", death=lambda: dies_after_a_line_of("without-curriculum-2", 3))
attempt("killed", "--resume", death=lambda: dies_after_a_line_of("context-injection"))
attempt("killed", "--resume")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_killed_in_every_stage_ends_with_the_same_bytes(
    tiny_model: Path, tiny_data: Path, tmp_path: Path, forked: ForkServer
) -> None:
    settings = [f"model={tiny_model}", f"base={tiny_model}", f"data.path={tiny_data}", "lora.r=0"]
    settings += ["sft.max_steps=15", "sft.per_device_train_batch_size=2", "sft.save_steps=5"]
    settings += ["rl.max_steps=8", "rl.per_device_train_batch_size=4", "rl.num_generations=2"]
    settings += ["rl.max_completion_length=8", "rl.beta=0.05", "decoding.max_new_tokens=4"]
    settings += ["rl.save_steps=2", "rl.learning_rate=1e-3", "retrieval.k=2"]
    settings += ["stages=all", "rl.curriculum.first=1", "controls.without_curriculum=true"]
    done = forked.run(SCRIPT, str(tmp_path), json.dumps(settings), cwd=tmp_path)
    assert done.status == 0, done.err[-3000:]
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    made = ("sft", "model", "controls/context_injection", "controls/without_curriculum")
    for folder in made:
        one, other = (each / "run" / folder / "model.safetensors" for each in (alone, killed))
        assert one.read_bytes() == other.read_bytes()
    assert len({(alone / "run" / folder / "model.safetensors").read_bytes() for folder in made}) == len(made)
    facts = [json.loads((each / "run" / "run.json").read_text()) for each in (alone, killed)]
    for each in facts:
        assert list(each["stages"])[:3] == ["sft", "rl-1", "rl-2"]
        for stage in each["stages"].values():
            del stage["base"]  # a path in the run's own folder
    assert facts[0]["stages"] == facts[1]["stages"]
    assert facts[0]["rl_prompts"] == facts[1]["rl_prompts"]
    lines = [(each / "run" / "metrics.jsonl").read_text().splitlines() for each in (alone, killed)]
    timed = ("step_seconds", "tokens_per_second")
    told = [
        [{k: v for k, v in json.loads(line).items() if k not in timed} for line in some] for some in lines
    ]
    assert told[0] == told[1]
    assert facts[0]["trajectories"] == facts[1]["trajectories"]
    assert {each["status"] for each in facts} == {"finished"}
    # The uninterrupted run sent six queries; at the end all answers came from the cache.
    assert json.loads((alone / "asked.json").read_text()) == 6
    assert json.loads((killed / "asked.json").read_text()) == 0
