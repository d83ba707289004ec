"""Preference and RL stages killed by SIGKILL at random points and resumed equal uninterrupted ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from forking import ForkServer

from training.adapters import make_adapter

SCRIPT = """
import json, os, random, signal, sys
from pathlib import Path
from models.tiny import WORDS, sentences
from personakit.config.training import GroupRLSettings, PreferenceSettings, TrainingSettings
from personakit.training import group_rl, preference, supervised
from personakit.training.checkpoints import newest_complete
from personakit.training.run import Run
from training.staging import staged

base, root, adapter = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
texts = sentences(24)
answers = [" ".join(WORDS[n % 20 : n % 20 + 2]) for n in range(24)]
common = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "logging_steps": 2,
          "save_steps": 2, "device": "cpu",
          "learning_rate": 5e-3, "eval_steps": 4, "num_train_epochs": 3, "dtype": "float32"}
rl = {"num_generations": 4, "beta": 0.05}

def wanted(completions, word, log_metric, **_):
    log_metric("length", sum(map(len, completions)) / len(completions))
    return [text.split().count(word_) - 0.1 * len(text.split()) for text, word_ in zip(completions, word)]

def work(kind, run):
    # The random state must be restored: dropout, sampling, shuffling of rollouts.
    lora = {"r": 4} if "lora" in kind else {}
    start = adapter if "on" in kind else base
    if "sft" in kind:
        examples = [supervised.PromptCompletion(*row) for row in zip(texts, answers)]
        placed = staged(TrainingSettings, run, "s", **common | lora)
        return supervised.finetune(start, examples, *placed, evaluation=examples[:4])
    if "dpo" in kind:
        pairs = [preference.TrainingPair(t, a, b) for t, a, b in zip(texts, answers, answers[1:] + ["red"])]
        placed = staged(PreferenceSettings, run, "s", **common | lora)
        return preference.train_dpo(start, pairs, *placed, evaluation=pairs[:4])
    prompts = [group_rl.Prompt(text, {"word": word.split()[0]}) for text, word in zip(texts, answers)]
    more = {"num_iterations": 2, "steps_per_generation": 2} if "iterated" in kind else {}
    more |= {"algorithm": "rloo"} if "rloo" in kind else {}
    placed = staged(GroupRLSettings, run, "s", **common | rl | lora | more | {"num_train_epochs": 1.5})
    return group_rl.train(start, prompts, [group_rl.RewardFunction(wanted)], *placed,
                          max_completion_length=6, evaluation=prompts[:2])

def attempt(kind, name, resume=False, at=None):
    child = os.fork()
    if child == 0:
        if at is not None:
            log = Run.log_metrics
            moment = random.Random(f"{kind}{at}").choice(["line", "step"])
            from personakit.training import watch
            if moment == "line":
                def log_metrics(self, stage, now, **values):
                    log(self, stage, now, **values)
                    if now >= at:
                        os.kill(os.getpid(), signal.SIGKILL)
                Run.log_metrics = log_metrics
            else:
                def on_step_begin(self, args, state, control, **_):
                    if state.global_step >= at:
                        os.kill(os.getpid(), signal.SIGKILL)
                watch.StageCallback.on_step_begin = on_step_begin
        with Run.create(root / kind / name, "rpo", {}, 1, resume=resume) as run:
            if resume:
                found = newest_complete(run.checkpoints("s"))
                with (root / "resumed").open("a") as handle:
                    handle.write(f"{found[1] if found else 0} ")
            work(kind, run)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert (os.WTERMSIG(status) == signal.SIGKILL) if at is not None else status == 0, (kind, name, status)

for kind in sys.argv[4].split(","):
    attempt(kind, "alone")
    steps = json.loads((root / kind / "alone" / "run.json").read_text())["stages"]["s"]["steps"]
    attempt(kind, "killed", at=random.Random(kind).randrange(1, steps))
    attempt(kind, "killed", resume=True)
"""

# Full fine-tuning; continuing an adapter. Full fine-tuning; rollouts used in several steps.
KINDS = [["dpo", "grpo-lora-on"], pytest.param(["sft", "grpo-iterated"], marks=pytest.mark.extended)]


def lines(file: Path) -> list[dict[str, Any]]:
    times = ("tokens_per_second", "step_seconds")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in times} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("kinds", KINDS, ids="+".join)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_and_resumed_equals_uninterrupted(
    tiny_folder: Path, tmp_path: Path, forked: ForkServer, kinds: list[str]
) -> None:
    adapter = make_adapter(tiny_folder, tmp_path / "adapter")
    done = forked.run(
        SCRIPT,
        *(str(tiny_folder), str(tmp_path), str(adapter), ",".join(kinds)),
        environment={"PERSONAKIT_CACHE": str(tmp_path / "cache")},
    )
    assert done.status == 0, done.err[-3000:]
    for kind in kinds:
        alone, killed = tmp_path / kind / "alone", tmp_path / kind / "killed"
        file = "adapter_model.safetensors" if "lora" in kind else "model.safetensors"
        assert (alone / "model" / file).read_bytes() == (killed / "model" / file).read_bytes(), kind
        assert lines(alone / "metrics.jsonl") == lines(killed / "metrics.jsonl"), kind
        if kind.startswith(("grpo", "rloo")):
            assert lines(alone / "rollouts.jsonl") == lines(killed / "rollouts.jsonl"), kind
        assert json.loads((killed / "run.json").read_text())["status"] == "finished"
    begun = [int(line) for line in (tmp_path / "resumed").read_text().split()]
    assert len(begun) == len(kinds)
    assert any(step > 0 for step in begun)  # it resumed from a checkpoint
