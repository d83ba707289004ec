from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from models.tiny import WORDS, make_tiny, sentences

from personakit.config.training import GroupRLSettings
from personakit.errors import UserError
from personakit.models.local import LocalModel
from personakit.training.fitting import StageResult
from personakit.training.group_batches import GroupBatches
from personakit.training.group_rl import Prompt, RewardFunction, group_arguments, train
from personakit.training.precision import Precision
from personakit.training.run import Run
from training.adapters import make_adapter
from training.staging import staged

QUICK: dict[str, Any] = {
    "per_device_train_batch_size": 16,
    "num_generations": 4,
    "max_steps": 2,
    "learning_rate": 1e-3,
    "device": "cpu",
    "dtype": "float32",
}

#: The same batch in two forward passes.
TWO_PASSES = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}
COLOCATE: dict[str, Any] = {
    "vllm_mode": "colocate",
    "vllm_gpu_memory_utilization": 0.5,
    "vllm_tensor_parallel_size": 2,
    "vllm_enable_sleep_mode": True,
}


@dataclasses.dataclass(frozen=True)
class Wish:
    """An object that an Arrow table cannot hold."""

    word: str


PROMPTS = [Prompt(text, {"wish": Wish(WORDS[n])}) for n, text in enumerate(sentences(12, longest=10))]


def granted(completions: Sequence[str], wish: Sequence[Wish], **_: Any) -> list[float]:
    return [text.split().count(each.word) / 6 for text, each in zip(completions, wish, strict=True)]


def red(completions: Sequence[str], log_metric: Any, **_: Any) -> list[float]:
    log_metric("words", sum(len(text.split()) for text in completions) / len(completions))
    return [text.split().count("red") / 6 for text in completions]


def short(completions: Sequence[str], **_: Any) -> list[float]:
    return [-float(len(text)) for text in completions]


def run_rl(
    base: Path,
    folder: Path,
    rewards: list[RewardFunction] | None = None,
    prompts: Any = PROMPTS,
    **changes: Any,
) -> StageResult:
    with Run.create(folder, "rpo", {}, 3) as run:
        settings, stage = staged(GroupRLSettings, run, "rl", **QUICK | changes)
        rewards = rewards or [RewardFunction(red)]
        return train(str(base), prompts, rewards, settings, stage, max_completion_length=6)


def lines(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.mark.parametrize("change", [{"r": 8, "num_iterations": 2}, {"algorithm": "rloo"}])
def test_reward_increases(tiny_folder: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    settings = {
        "max_steps": 40,
        "learning_rate": 5e-3,
        "per_device_train_batch_size": 32,
        "num_generations": 8,
    } | change
    done = run_rl(tiny_folder, tmp_path / "run", **settings)
    earned = [line["reward"] for line in lines(tmp_path / "run")]
    assert sum(earned[:3]) / 3 < 0.1
    assert sum(earned[-3:]) / 3 > 0.5
    model = LocalModel.load(str(done.model), device="cpu")
    (answer,) = model.generate(["the old dog"], max_new_tokens=6)[0]
    assert "red" in answer


@pytest.mark.parametrize("kind", ["full", "new adapter", "adapter gone on with", "adapter merged"])
def test_the_reference_is_the_model_it_begins_with(tiny_folder: Path, tmp_path: Path, kind: str) -> None:
    """With the base in the model's configuration as the reference, the divergence would not start at 0."""
    start = make_adapter(tiny_folder, tmp_path / "adapter") if kind.startswith("adapter") else tiny_folder
    rank = 0 if kind in ("full", "adapter merged") else 4
    done = run_rl(start, tmp_path / "run", [RewardFunction(short)], beta=0.1, r=rank, learning_rate=1e-2)
    first, second = lines(tmp_path / "run")
    assert first["kl"] == pytest.approx(0, abs=1e-6)
    assert second["kl"] > 1e-5
    assert not (tmp_path / "run" / "checkpoints" / "rl").exists()
    assert "ref" not in {path.name for path in done.model.iterdir()}


@pytest.mark.parametrize("kind", ["full", "adapter"])
def test_given_reference_does_not_change(tiny_folder: Path, tmp_path: Path, kind: str) -> None:
    start = make_adapter(tiny_folder, tmp_path / "adapter") if kind == "adapter" else tiny_folder
    changes: dict[str, Any] = {"beta": 0.1, "r": 4 if kind == "adapter" else 0, "learning_rate": 1e-2}
    first = run_rl(start, tmp_path / "first", [RewardFunction(short)], **changes)
    rewards = [RewardFunction(short)]
    for name, reference in (("itself", None), ("start", str(start))):
        with Run.create(tmp_path / name, "rpo", {}, 3) as run:
            again, stage = staged(GroupRLSettings, run, "rl", **QUICK | changes)
            train(
                *(str(first.model), PROMPTS, rewards, again, stage),
                max_completion_length=6,
                reference=reference,
            )
    assert lines(tmp_path / "itself")[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert lines(tmp_path / "start")[0]["kl"] > 1e-5


@pytest.mark.parametrize("chat", [False, True])
def test_reward_functions_get_texts_and_columns(tmp_path: Path, chat: bool) -> None:
    base = make_tiny(tmp_path / "tiny", chat=chat)
    seen: list[dict[str, Any]] = []

    def spy(**given: Any) -> list[float | None]:
        seen.append(given)
        return [None if place % 4 == 0 else float(place % 4) for place in range(len(given["completions"]))]

    run_rl(
        base,
        tmp_path / "run",
        [RewardFunction(spy, name="spy"), RewardFunction(granted, weight=0.0)],
        log_prompts=2,
    )
    texts = {prompt.text: prompt.columns["wish"] for prompt in PROMPTS}
    for given in seen:
        assert len(given["prompts"]) == 16
        assert all(isinstance(text, str) for text in given["prompts"] + given["completions"])
        assert given["wish"] == [texts[text] for text in given["prompts"]]
        assert given["prompts"][:4] == [given["prompts"][0]] * 4
    rollouts = lines(tmp_path / "run", "rollouts.jsonl")
    assert [row["step"] for row in rollouts] == [0] * 8 + [1] * 8
    assert [row["prompt"] for row in rollouts[:8]] == seen[0]["prompts"][:8]
    assert [row["completion"] for row in rollouts[:8]] == seen[0]["completions"][:8]
    assert [row["rewards"]["spy"] for row in rollouts[:4]] == [None, 1.0, 2.0, 3.0]
    assert [row["reward"] for row in rollouts[:4]] == [0.0, 1.0, 2.0, 3.0]  # `granted` has weight 0
    assert all(row["tokens"] <= 6 for row in rollouts)
    first = lines(tmp_path / "run")[0]
    assert first["reward/spy"] == pytest.approx(2.0)
    assert "reward/granted" in first


def test_metrics(tiny_folder: Path, tmp_path: Path) -> None:
    done = run_rl(tiny_folder, tmp_path / "run", beta=0.01)
    line = lines(tmp_path / "run")[-1]
    named = {"reward", "reward_std", "reward/red", "reward_std/red", "kl", "entropy", "completion_length"}
    named |= {"completions_clipped", "groups_without_spread", "step_seconds", "tokens_per_second", "words"}
    assert named <= line.keys()
    assert line["tokens"] == done.tokens > 0
    assert 0 < line["completion_length"] <= 6


def test_batches_have_complete_groups_of_similar_lengths(tiny_folder: Path, tmp_path: Path) -> None:
    batches: list[list[str]] = []

    def spy(prompts: list[str], **_: Any) -> list[float]:
        batches.append(prompts)
        return [0.0] * len(prompts)

    prompts = [Prompt("mat " * length) for length in (1, 9) for _ in range(8)]
    run_rl(tiny_folder, tmp_path / "run", [RewardFunction(spy)], prompts, **TWO_PASSES, max_steps=None)
    assert len(batches) == 8  # two forward passes per step, each with separate rollouts
    for batch in batches:
        assert len(batch) == 8
        assert len(set(batch)) == 1  # two groups of four, prompts of one length
    assert sorted(text for batch in batches for text in batch[::4]) == sorted(p.text for p in prompts)


def test_logs_happen_between_generations(tiny_folder: Path, tmp_path: Path) -> None:
    changes = {"num_iterations": 2, "steps_per_generation": 2, "max_steps": 10, "logging_steps": 3}
    done = run_rl(tiny_folder, tmp_path / "run", **changes)
    assert [line["step"] for line in lines(tmp_path / "run")] == [4, 8, 12]
    assert done.steps == 12


def plan(prompts: int = 100, processes: int = 1, **changes: Any) -> GroupBatches:
    given = {key: value for key, value in QUICK.items() if key not in ("device", "dtype")}
    return GroupBatches.plan(GroupRLSettings(**given | {"max_steps": None} | changes), prompts, processes)


def test_group_batches_plan() -> None:
    # 16 completions per step are 4 prompts: 100 prompts take 25 steps, with one generation each.
    assert plan() == GroupBatches(4, 1, 25, 1, 25)
    # Two passes per step, with one generation each.
    assert plan(**TWO_PASSES) == GroupBatches(2, 1, 50, 1, 25)
    # A generation of 32 completions is used in two steps, three times: 13 generations with 6 steps each.
    assert plan(steps_per_generation=2, num_iterations=3) == GroupBatches(8, 2, 13, 6, 78)
    assert plan(steps_per_generation=2, **TWO_PASSES) == GroupBatches(8, 4, 13, 2, 26)
    assert plan(steps_per_generation=2, num_train_epochs=0.01) == GroupBatches(8, 2, 1, 2, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"per_device_train_batch_size": 6},
            r"is 6 completions, expected a multiple of num_generations \(4\)",
        ),
        ({"num_generations": 1}, "num_generations is 1, expected at least 2"),
        ({"steps_per_generation": 0}, "steps_per_generation is 0"),
        ({"max_tokens": 5}, "max_tokens is set"),
        ({"max_length": 10}, r"prompt \d+ has \d+ tokens, expected at most 4"),
        ({"too_long": "cut"}, 'too_long is "cut"'),
        ({"vllm_mode": "colocate"}, "vllm_mode is colocate, but vLLM is not installed"),
        ({"vllm_mode": "elsewhere"}, "vllm_mode is 'elsewhere', expected one of off, colocate, server"),
    ],
)
def test_invalid_settings_are_errors(
    tiny_folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run_rl(tiny_folder, tmp_path / "run", **changes)


def test_invalid_rewards_are_errors(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match='two rewards are called "red"'):
        run_rl(tiny_folder, tmp_path / "a", [RewardFunction(red), RewardFunction(red)])
    with pytest.raises(UserError, match="prompt 2 has the columns"):
        run_rl(tiny_folder, tmp_path / "b", prompts=[Prompt("a"), Prompt("b", {"x": 1})])
    with pytest.raises(UserError, match='has the reserved name "completions"'):
        run_rl(tiny_folder, tmp_path / "c", prompts=[Prompt("a", {"completions": 1})])


def test_vllm_settings_reach_the_trainer(tmp_path: Path) -> None:
    def arguments(algorithm: Any = "grpo", **changes: Any) -> Any:
        precision = Precision("cpu", "float32", "a test")
        with Run.create(tmp_path / f"{algorithm}{len(changes)}", "rpo", {}, 3) as run:
            given = QUICK | {"algorithm": algorithm} | changes
            settings, stage = staged(GroupRLSettings, run, "rl", **given)
            batches = GroupBatches.plan(settings, 12, 1)
            return group_arguments([RewardFunction(red)], batches, settings, precision, stage, 6)

    assert not arguments().use_vllm
    for algorithm in ("grpo", "rloo"):
        inside = arguments(algorithm, **COLOCATE)
        assert (inside.use_vllm, inside.vllm_mode) == (True, "colocate")
        assert (inside.vllm_gpu_memory_utilization, inside.vllm_tensor_parallel_size) == (0.5, 2)
        assert inside.vllm_enable_sleep_mode
        beside = arguments(
            algorithm, vllm_mode="server", vllm_server_base_url="http://h:1", vllm_group_port=7
        )
        assert (beside.vllm_mode, beside.vllm_server_base_url) == ("server", "http://h:1")
        assert beside.vllm_group_port == 7


@pytest.mark.slow
def test_completions_end_where_the_chat_template_ends_an_answer(tmp_path: Path) -> None:
    from models.chat_templates import FAMILIES, make_tokenizer
    from models.shared_prefix.families import make

    tokenizer = make_tokenizer(FAMILIES["Gemma 2"])
    tokenizer.save_pretrained(tmp_path / "gemma")
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = make("Gemma", double=False, vocab_size=len(tokenizer), initializer_range=0.02, **ids)
    model.save_pretrained(tmp_path / "gemma")
    seen: list[list[int]] = []

    def reward(completions: Sequence[str], completion_ids: Sequence[list[int]], **_: Any) -> list[float]:
        seen.extend(completion_ids)
        return [float(len(text)) for text in completions]

    with Run.create(tmp_path / "run", "rpo", {}, 3) as run:
        given = QUICK | {"max_steps": 1, "per_device_train_batch_size": 64, "num_generations": 32}
        settings, stage = staged(GroupRLSettings, run, "rl", r=4, **given)
        prompts = [Prompt(text) for text in ("Why?", "When?")]
        place, rewards = str(tmp_path / "gemma"), [RewardFunction(reward)]
        train(place, prompts, rewards, settings, stage, max_completion_length=32)
    end = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert any(row[-1] == end for row in seen)
    assert all(end not in row[:-1] for row in seen)
