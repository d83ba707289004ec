"""RL as part of a run: its files, stages and controls.

The tests define their own rewards, because a model with random weights never writes a tag.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cli.tiny import make_run

from personakit.config import TrainRPO, load
from personakit.errors import UserError
from personakit.methods import REWRITERS, open_run, read_run
from personakit.models.local import LocalModel
from personakit.rpo import reinforce as module
from personakit.rpo.rewriter import Rewriter
from personakit.rpo.train import check_plan
from personakit.training.group_rl import RewardFunction

from .test_train import train

SHORT = [
    "stages=all",
    "sft.max_steps=2",
    "rl.max_steps=7",
    "rl.per_device_train_batch_size=4",
    "rl.num_generations=2",
    "rl.max_completion_length=8",
]
SHORT += ["rl.learning_rate=1e-3", "retrieval.k=3", "trajectories.no_history_share=0", "lora.r=0"]
SHORT += ["trajectories.writer=template"]


def config(model: Path, data: Path, *overrides: str) -> TrainRPO:
    settings = [f"model={model}", f"base={model}", f"data.path={data}", "decoding.max_new_tokens=4"]
    return load(TrainRPO, None, [*settings, "sft.per_device_train_batch_size=2", *SHORT, *overrides])


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The inputs of the rewards, which count different letters."""
    calls: list[dict[str, Any]] = []

    def letters(completions: Sequence[str], **given: Any) -> list[float]:
        calls.append(given)
        return [len(set(text)) / 8 for text in completions]

    monkeypatch.setattr(
        module, "reward_functions", lambda weight, traced: [RewardFunction(letters, name="task")]
    )
    return calls


def lines(folder: Path, stage: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["stage"] == stage]


@pytest.mark.slow
def test_rl_continues_from_sft_in_stages_and_trains_its_controls(
    tiny_model: Path, tiny_data: Path, tmp_path: Path, seen: list[dict[str, Any]]
) -> None:
    folder = tmp_path / "run"
    controls = ["controls.sft_continued=true", "controls.without_curriculum=true", "rl.beta=0.01"]
    result = train(folder, config(tiny_model, tiny_data, *controls))
    facts = json.loads((folder / "run.json").read_text())
    stages = facts["stages"]
    rl = ["rl-1", "rl-2", "rl-3"]
    without = ["without-curriculum-1", "without-curriculum-2", "without-curriculum-3"]
    assert list(stages) == ["sft", *rl, "sft-continued", *without, "context-injection"]
    # Seven steps divided among three stages, the same in method and control.
    assert [stages[name]["steps"] for name in rl] == [stages[name]["steps"] for name in without] == [2, 2, 3]
    tokens = sum(stages[name]["tokens"] for name in rl)
    assert (result.model, result.steps, result.tokens) == (folder / "model", 7, tokens)

    def close(stage: str, budget: int) -> bool:
        """Whether a control stopped at the step that reaches the budget."""
        return bool(
            0 <= stages[stage]["tokens"] - budget < 2 * stages[stage]["tokens"] / stages[stage]["steps"]
        )

    assert close("sft-continued", tokens)
    assert close("context-injection", tokens + stages["sft"]["tokens"])
    # Each stage continues from the previous one; intermediate weights are deleted, the models stay.
    assert {stages[name]["base"] for name in [*rl, "sft-continued"]} == {str(folder / "sft")}
    divergence = [lines(folder, name)[0]["kl"] for name in rl]
    assert divergence[0] == pytest.approx(0, abs=1e-6)
    assert divergence[2] > divergence[1] > 1e-6
    assert list((folder / "checkpoints").iterdir()) == []
    places = ["sft", "model", "controls/sft_continued", "controls/without_curriculum"]
    weights = [(folder / place / "model.safetensors").read_bytes() for place in places]
    assert len(set(weights)) == len(places)
    assert all(read_run(folder).path(place) for place in REWRITERS.values())
    # Two prompts per step: the four queries with a history are used cyclically, each once before any twice.
    assert [sum(map(len, (set(each["prompts"]) for each in seen[:2])))] == [4]
    assert {n for each in seen[:2] for n in each["items"]} == {1}
    assert {n for each in seen[2:4] for n in each["items"]} == {2}
    assert {n for each in seen[2:4] for n in each["distractors"]} == {1}
    assert {n for each in seen[7:] for n in each["items"]} == {3}
    assert {n for each in seen[4:] for n in each["distractors"]} == {0}
    assert [set(each["gold"]) for each in seen[:7]] == [set(each["gold"]) for each in seen[7:]]
    assert facts["rl_prompts"]["rl"]["prompts"] == 12
    line = lines(folder, "rl-3")[-1]
    assert {"reward", "reward/task", "entropy", "completion_length", "tokens"} <= line.keys()


@pytest.mark.slow
def test_a_stage_ends_at_its_target_reward_and_later_stages_get_its_steps(
    tiny_model: Path, tiny_data: Path, tmp_path: Path, seen: list[dict[str, Any]]
) -> None:
    curriculum = [
        "rl.curriculum.items=[1,3]",
        "rl.curriculum.until_reward=[0.01]",
        "rl.curriculum.reward_window=2",
    ]
    done = train(
        tmp_path / "run",
        config(
            tiny_model,
            tiny_data,
            *curriculum,
            "rl.max_steps=10",
            "controls.fine_tuned_context_injection=false",
        ),
    )
    assert [len(lines(tmp_path / "run", stage)) for stage in ("rl-1", "rl-2")] == [2, 8]
    assert done.steps == 10


@pytest.mark.slow
def test_random_output_has_reward_zero_and_is_logged_as_unparsable(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    settings = [
        "rl.max_steps=2",
        "rl.curriculum.enabled=false",
        "controls.fine_tuned_context_injection=false",
    ]
    train(tmp_path / "run", config(tiny_model, tiny_data, *settings))
    first, second = lines(tmp_path / "run", "rl")
    for line in (first, second):
        assert (line["reward"], line["reward/task"], line["reward/format"]) == (0, 0, 0)
        assert (line["unparsable"], line["items"], line["distractors"]) == (1, 3, 0)


@pytest.mark.slow
def test_without_a_trace_there_is_no_format_to_reward(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    settings = ["rl.max_steps=2", "rl.curriculum.enabled=false", "trajectories.writer=none"]
    settings += ["controls.fine_tuned_context_injection=false"]
    folder = tmp_path / "run"
    train(folder, config(tiny_model, tiny_data, *settings))
    assert json.loads((folder / "run.json").read_text())["trajectory_writer"] == "none"
    for line in lines(folder, "rl"):
        assert "reward/format" not in line
        assert line["unparsable"] < 1  # any text is an answer
    opened = open_run(folder)
    assert isinstance(opened, Rewriter)
    assert not opened.traced


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stages=sft", "controls.sft_continued=true"], "controls.sft_continued is true and stages is sft"),
        (
            ["stages=sft", "controls.without_curriculum=true"],
            "controls.without_curriculum is true and stages",
        ),
        (["rl.curriculum.enabled=false", "controls.without_curriculum=true"], "there is no curriculum"),
        (["rl.curriculum.items=[1,2]"], r"rl.curriculum.items is \[1, 2\]"),
        (
            ["rl.max_completion_length=null", "trajectories.max_tokens=512", "sft.max_length=512"],
            "has up to 512 tokens in RL",
        ),
        # Checked before any request or training.
        (["trajectories.writer=teacher"], "trajectories.teacher names no model"),
        (["rl.vllm_mode=server"], "vllm"),
        (["rl.metric_for_best_model=eval_reward"], "eval_reward"),
        (["sft.metric_for_best_model=eval_loss"], "eval_loss"),
    ],
)
def test_conflicting_settings_are_rejected_in_one_sentence(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        check_plan(config(Path("m"), Path("d"), *overrides))
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_prompts_that_do_not_fit_are_rejected_in_one_sentence(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"no prompt of stage rl-1 fits into 112 tokens \(sft.max_length 120"):
        train(tmp_path / "run", config(tiny_model, tiny_data, "sft.max_length=120", "sft.max_steps=1"))


def test_a_run_opens_its_further_rewriters(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", tiny_model, tiny_data)
    (folder / "sft").symlink_to(tiny_model, target_is_directory=True)
    opened = open_run(folder, rewriter="sft")
    assert isinstance(opened, Rewriter)
    assert isinstance(opened.model, LocalModel)
    assert opened.model.name == str(folder / "sft")
    with pytest.raises(UserError, match='has no rewriter "sft-continued"') as caught:
        open_run(folder, rewriter="sft-continued")
    assert "controls.sft_continued=true" in caught.value.hint
