"""Two processes (gloo) under DDP and FSDP2 give the same results as one process.

The same global batches, on recorded rollouts for group RL: losses, gradient norms and weights to 1e-5.
Under FSDP2 with gradient checkpointing. accelerate keeps FSDP from CPUs, though torch's runs there; the
script lets it, in accelerate's state.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from forking import ForkServer

from training.launching import launch_environment

ENGINES = ("ddp", pytest.param("fsdp2", marks=pytest.mark.extended))
STAGES = ("sft", "lora", "dpo", "grpo")

SCRIPT = """
import gc, json, sys
from pathlib import Path
import torch
from torch.distributed.fsdp import FSDPModule
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from models.tiny import WORDS, sentences
from trl import GRPOTrainer
from personakit.config.training import GroupRLSettings, PreferenceSettings, TrainingSettings
from training.staging import staged
from personakit.training import group_rl, preference, supervised
from personakit.training.processes import process_count
from personakit.training.run import Run

base, root, how = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
begin = AcceleratorState.__init__

def with_fsdp(self, *args, fsdp_plugin=None, **kwargs):
    begin(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None:
        self.fsdp_plugin = fsdp_plugin
    if "fsdp_plugin" in self.__dict__:
        self.distributed_type = DistributedType.FSDP

if how == "fsdp2":
    AcceleratorState.__init__ = with_fsdp
tape_file = root / "rollouts.json"
tape = json.loads(tape_file.read_text()) if process_count() > 1 else {}
written = GRPOTrainer._generate_single_turn

def recorded(self, prompt_ids, *rest):
    # Replays recorded rollouts in two processes; records them in one.
    keys = [f"{self.state.global_step}:{ids}" for ids in prompt_ids]
    if process_count() == 1:
        completions, logps = written(self, prompt_ids, *rest)
        for key, completion in zip(keys, completions, strict=True):
            tape.setdefault(key, []).append(completion)
        return completions, logps
    seen = {}
    for key in keys:
        seen.setdefault(key, iter(tape[key]))
    return [next(seen[key]) for key in keys], None

GRPOTrainer._generate_single_turn = recorded
texts, answers = sentences(19), sentences(38, seed=1, longest=6)
examples = [supervised.PromptCompletion(text, answers[n]) for n, text in enumerate(texts)]
pairs = [preference.TrainingPair(text, answers[n], answers[-1 - n]) for n, text in enumerate(texts)]
prompts = [group_rl.Prompt(text) for text in texts]
rewards = [group_rl.RewardFunction(lambda completions, **_: [len(set(c.split())) / 8 for c in completions])]

def attempt(stage, train, settings):
    with Run.create(root / how / stage, "rpo", {}, 1) as run:
        kind, given = settings
        train(run, *staged(kind, run, stage, **common | given))

common = {"logging_steps": 1, "learning_rate": 1e-3, "dtype": "float32", "device": "cpu"}
common["gradient_checkpointing"] = how == "fsdp2"  # which must not change the result
two = 2 // process_count()  # passes with the same rows: one device twice, or two devices once
# With an incomplete last batch: 19 examples in batches of 8, two epochs.
attempt("sft", lambda run, settings, stage: supervised.finetune(base, examples, settings, stage),
    (TrainingSettings, dict(per_device_train_batch_size=2, gradient_accumulation_steps=2 * two,
        num_train_epochs=2)))
attempt("lora", lambda run, settings, stage: supervised.finetune(base, examples, settings, stage),
    (TrainingSettings, dict(per_device_train_batch_size=4, gradient_accumulation_steps=two, max_steps=4,
        r=4)))
attempt("dpo", lambda run, settings, stage: preference.train_dpo(base, pairs, settings, stage),
    (PreferenceSettings, dict(per_device_train_batch_size=2, gradient_accumulation_steps=two, max_steps=6)))
attempt("grpo", lambda run, settings, stage: group_rl.train(base, prompts, rewards, settings, stage,
        max_completion_length=8),
    (GroupRLSettings, dict(per_device_train_batch_size=4 * two, num_generations=4, num_iterations=2,
        beta=0.05, max_steps=8)))
GRPOTrainer._generate_single_turn = written
attempt("generated",
    lambda run, settings, stage: group_rl.train(base, prompts, rewards, settings, stage,
        max_completion_length=8),
    (GroupRLSettings, dict(per_device_train_batch_size=4 * two, num_generations=4, max_steps=2)))
if how == "fsdp2":
    assert any(isinstance(thing, FSDPModule) for thing in gc.get_objects())
if process_count() == 1:
    tape_file.write_text(json.dumps(tape))
"""


def run_stages(how: str, base: Path, root: Path, forked: ForkServer) -> None:
    environment = {"PERSONAKIT_CACHE": str(root / how / "cache")}
    if how != "one":
        environment = launch_environment(f"accelerate/{how}") | environment
    done = forked.run(
        SCRIPT,
        *(str(base), str(root), how),
        environment=environment,
        processes=1 if how == "one" else 2,
    )
    assert done.status == 0, done.err[-6000:]


@pytest.fixture(scope="module")
def trained(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory, forked: ForkServer) -> Path:
    """A folder with every stage's run on one process in one/STAGE; engines use sibling folders."""
    root = tmp_path_factory.mktemp("two")
    run_stages("one", tiny_folder, root, forked)
    return root


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, tiny_folder: Path, trained: Path, forked: ForkServer) -> str:
    """An engine; its runs on two processes are in ENGINE/STAGE."""
    run_stages(request.param, tiny_folder, trained, forked)
    return str(request.param)


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_losses_and_gradients_equal_one_process(trained: Path, stage: str, engine: str) -> None:
    one, two = metrics(trained / "one" / stage), metrics(trained / engine / stage)
    assert len(one) >= 4
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for name in {"loss", "grad_norm", "learning_rate", "reward", "kl", "margin"} & one[0].keys():
        assert [line[name] for line in two] == pytest.approx([line[name] for line in one], rel=1e-5, abs=1e-5)
    # The weights have changed, otherwise equality would be trivial.
    assert len({round(line["loss"], 3) for line in one}) > 2
    assert all(line["grad_norm"] > 1e-3 for line in one)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_weights_equal_one_process(trained: Path, tiny_folder: Path, stage: str, engine: str) -> None:
    one, two = weights(trained / "one" / stage / "model"), weights(trained / engine / stage / "model")
    assert one.keys() == two.keys()
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5
    before = weights(tiny_folder)
    assert max(float((one[name] - before[name]).abs().max()) for name in one if name in before) > 1e-3


def weights(folder: Path) -> dict[str, Any]:
    """Load a folder with transformers or PEFT."""
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    if (folder / "adapter_config.json").is_file():
        return dict(AutoPeftModelForCausalLM.from_pretrained(folder).merge_and_unload().state_dict())
    return dict(AutoModelForCausalLM.from_pretrained(folder).state_dict())


@pytest.mark.slow
def test_rollouts_are_written_with_two_processes(trained: Path, engine: str) -> None:
    lines = metrics(trained / engine / "generated")
    assert [line["step"] for line in lines] == [1, 2]
    assert all(1 <= line["completion_length"] <= 8 for line in lines)
    assert all(line["grad_norm"] > 0 for line in lines)


@pytest.mark.slow
def test_only_the_main_process_wrote(trained: Path, engine: str) -> None:
    for stage in STAGES:
        facts = json.loads((trained / engine / stage / "run.json").read_text())
        assert facts["status"] == "finished"
        assert facts["processes"] == 2
        assert facts["stages"].keys() == {stage}
    rollouts = [(trained / how / "grpo" / "rollouts.jsonl").read_text() for how in ("one", engine)]
    assert rollouts[0] == rollouts[1]
