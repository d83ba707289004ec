"""`personakit train pillow` from settings to run folder, with a tiny random model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from forking import ForkServer

from personakit.config import TrainPILLOW, load
from personakit.data.instructions import write_instructions
from personakit.errors import UserError
from personakit.models.local import LocalModel
from personakit.pillow.encoding import instruction_text, open_text_encoder
from personakit.pillow.matcher import Matcher, load_matcher
from personakit.pillow.pool import load_pool
from personakit.pillow.train import train_pillow
from personakit.records import Instruction, Pool
from personakit.training.progress import SilentProgress
from personakit.training.run import Run
from personakit.training.training_digests import read_trained_on, training_digest

SHORT = [
    "tuning.max_steps=4",
    "tuning.per_device_train_batch_size=2",
    "tuning.max_length=256",
    "lora.r=2",
    "tuning.num_shots=1",
]
SHORT += [
    "rl.max_steps=6",
    "rl.batch_size=3",
    "rl.num_selections=2",
    "rl.save_steps=2",
    "data.template=plain",
]
SHORT += ["matcher.embedding_size=8", "matcher.hidden_size=8", "data.held_out=2"]


def made(name: str, count: int) -> list[Instruction]:
    return [Instruction(f"{name}{n}", f"Spell {name}.", f"word {n}", f"{name} {n}") for n in range(count)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Instructions of each split, and a pool of six prompts."""
    folder = tmp_path_factory.mktemp("data")
    for split, count in {"lora": 8, "train": 8, "dev": 2, "test": 2, "pool": 6}.items():
        write_instructions(folder / "instructions" / f"{split}.jsonl", made(split, count))
    return folder


@pytest.fixture
def config(tiny_model: Path, data: Path) -> Callable[..., TrainPILLOW]:
    def made(*overrides: str) -> TrainPILLOW:
        return load(TrainPILLOW, None, [f"model={tiny_model}", f"data.path={data}", *SHORT, *overrides])

    return made


def train(folder: Path, config: TrainPILLOW, *, resume: bool = False) -> None:
    from dataclasses import asdict

    with Run.create(folder, "pillow", asdict(config), config.seed, resume=resume) as run:
        train_pillow(config, run, SilentProgress())


@pytest.fixture
def run(tmp_path: Path, config: Callable[..., TrainPILLOW]) -> Path:
    train(tmp_path / "run", config())
    return tmp_path / "run"


def test_a_run_has_adapter_network_pool_and_costs(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    assert list(facts["stages"]) == ["lora", "full-fine-tuning", "matching"]
    assert facts["instructions"]["matching"] == 6
    lora, full = (facts["compute"][stage] for stage in ("lora", "full-fine-tuning"))
    assert lora["tokens"] == full["tokens"]
    assert 0 < lora["optimizer_bytes"] < full["optimizer_bytes"]
    assert full["gradient_bytes"] == 4 * full["trained"] == 4 * full["parameters"]
    assert lora["flops"] < full["flops"] == 6 * full["parameters"] * full["tokens"]
    assert lora["peak_bytes"] > 0
    for name in ("model/adapter_config.json", "controls/full_fine_tuning/model.safetensors", "pool.jsonl"):
        assert (run / name).is_file()

    pool = load_pool(run, facts["pool_fingerprint"])
    assert [each.id for each in pool.prompts] == [f"pool{n}" for n in range(6)]
    network, about = load_matcher(run / "matcher")
    assert about.pool == pool.fingerprint
    model = LocalModel.load(str(run / "model"))
    matcher = Matcher(network, open_text_encoder(about.encoder, model), about)
    picks = matcher.select(made("dev", 3), pool, 2, excluded=[frozenset({0, 1}), frozenset(), frozenset({5})])
    assert [len(set(each)) for each in picks] == [2, 2, 2]
    assert not {0, 1} & set(picks[0])
    assert 5 not in picks[2]
    measured = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"reward", "entropy", "coverage", "cache_hits"} <= {name for line in measured for name in line}
    assert any("eval_reward" in line for line in measured)
    asked = [*made("lora", 8), *made("train", 8)]
    assert read_trained_on(run) == {training_digest(instruction_text(each), each.output) for each in asked}


def test_a_changed_pool_is_rejected(run: Path, config: Callable[..., TrainPILLOW], data: Path) -> None:
    fingerprint = json.loads((run / "run.json").read_text())["pool_fingerprint"]
    network, about = load_matcher(run / "matcher")
    model = LocalModel.load(str(run / "model"))
    matcher = Matcher(network, open_text_encoder(about.encoder, model), about)
    with pytest.raises(UserError, match=r"the pool \(7 prompts\) has changed since the matching network"):
        matcher.select(made("dev", 1), Pool.of(made("pool", 7)), 2)
    lines = (run / "pool.jsonl").read_text().splitlines(keepends=True)
    (run / "pool.jsonl").write_text("".join(lines[1:]))
    with pytest.raises(UserError, match=r"pool.jsonl: the pool \(5 prompts\) has changed"):
        load_pool(run, fingerprint)
    other = data / "other.jsonl"
    write_instructions(other, made("other", 6))
    facts = json.loads((run / "run.json").read_text())
    facts["config"]["data"]["pool"] = str(other)
    (run / "run.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=r"has changed since .* was started"):
        train(run, config(f"data.pool={other}"), resume=True)


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        (made("pool", 1), "2 prompts from a pool of 1"),
        ([*made("pool", 3), Instruction("again", "Spell pool.", "word 1", "pool 1")], "repeats prompt"),
        ([], "has no instructions|no prompts"),
    ],
)
def test_unusable_pools_are_rejected_in_one_sentence(
    prompts: list[Instruction], said: str, config: Callable[..., TrainPILLOW], tmp_path: Path
) -> None:
    write_instructions(tmp_path / "pool.jsonl", prompts)
    with pytest.raises(UserError, match=said):
        train(tmp_path / "run", config(f"data.pool={tmp_path / 'pool.jsonl'}"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.pool=train", "data.pool is train"),
        ("data.held_out=8", "data.held_out is 8, expected less than 8"),
        ("rl.reward.likelihood=0", "every weight of rl.reward is 0"),
        ("matcher.encoder=model:9", "names layer 9"),
        ("matcher.encoder=model:last", "expected layer numbers"),
        ("tuning.enabled=false", "controls.full_fine_tuning is true and tuning.enabled is false"),
    ],
)
def test_conflicting_settings_are_rejected_in_one_sentence(
    override: str, said: str, config: Callable[..., TrainPILLOW], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        train(tmp_path / "run", config(override, "tuning.max_steps=1"))


KILLS = """
import json, os, signal, sys
from pathlib import Path
from personakit.cli import main
from personakit.training.run import Run

root, settings = Path(sys.argv[1]), json.loads(sys.argv[2])

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def dies_after_a_reward():
    from personakit.pillow import reinforce
    step, made = reinforce._step, []
    def counted(*how):
        made.append(step(*how))
        if len(made) == 3:
            die()
        return made[-1]
    reinforce._step = counted

def dies_before_this_is_marked(stage):
    mark = Run.mark_stage
    Run.mark_stage = lambda self, name, result: die() if name == stage else mark(self, name, result)

def attempt(name, *options, death=None):
    child = os.fork()
    if child == 0:
        os.environ["PERSONAKIT_CACHE"] = str(root / name / "cache")
        if death is not None:
            death()
        os._exit(main(["train", "pillow", "--output", str(root / name / "run"), "--quiet", *options]))
    status = os.waitpid(child, 0)[1]
    assert (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL) if death else status == 0, (
        name, death, status
    )

attempt("alone", *settings)
attempt("killed", *settings, death=lambda: dies_before_this_is_marked("lora"))
attempt("killed", "--resume", death=dies_after_a_reward)
attempt("killed", "--resume", death=lambda: dies_before_this_is_marked("matching"))
attempt("killed", "--resume")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_killed_in_every_stage_ends_with_the_same_bytes(
    tiny_model: Path, data: Path, tmp_path: Path, forked: ForkServer
) -> None:
    settings = [f"model={tiny_model}", f"data.path={data}", *SHORT, "controls.full_fine_tuning=false"]
    done = forked.run(KILLS, str(tmp_path), json.dumps(settings), cwd=tmp_path)
    assert done.status == 0, done.err[-3000:]
    one, other = tmp_path / "alone" / "run", tmp_path / "killed" / "run"
    for name in ("model/adapter_model.safetensors", "matcher/network.safetensors", "matcher/matcher.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    told = []
    for folder in (one, other):
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        # Rewards computed before the kill are cached.
        told.append(
            [
                {k: v for k, v in line.items() if k not in ("tokens_per_second", "cache_hits")}
                for line in lines
            ]
        )
    assert told[0] == told[1]
    assert not list((other / "checkpoints").glob("*"))
