from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from models.tiny import WORDS, sentences

from personakit.config.training import TrainingSettings
from personakit.errors import UserError
from personakit.models.local import LocalModel
from personakit.training.run import Run
from personakit.training.supervised import PromptCompletion, StageResult, finetune
from training.staging import staged

EXAMPLES = [
    PromptCompletion(prompt, f"{first} {second}")
    for prompt, first, second in zip(sentences(8), WORDS[10:18], WORDS[20:28], strict=True)
]
QUICK: dict[str, Any] = {
    "num_train_epochs": 3,
    "per_device_train_batch_size": 4,
    "logging_steps": 2,
    "save_steps": 2,
    "dtype": "float32",
    "device": "cpu",
}


def train(
    base: Path, folder: Path, examples: list[PromptCompletion] | None = None, **changes: Any
) -> StageResult:
    with Run.create(folder, "rpo", QUICK | changes, 3) as run:
        settings, stage = staged(TrainingSettings, run, "sft", **QUICK | changes)
        return finetune(str(base), EXAMPLES if examples is None else examples, settings, stage)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    (file,) = folder.glob("*.safetensors")
    return load_file(file)


@pytest.mark.parametrize("rank", [0, 8])
def test_learns_answers_and_end_of_sequence(tiny_folder: Path, tmp_path: Path, rank: int) -> None:
    done = train(tiny_folder, tmp_path / "run", r=rank, num_train_epochs=30, learning_rate=1.5e-2)
    model = LocalModel.load(str(done.model), device="cpu")
    answers = model.generate([example.prompt for example in EXAMPLES], max_new_tokens=5)
    assert [row[0] for row in answers] == [example.completion for example in EXAMPLES]


def test_transformers_and_peft_load_the_result(tiny_folder: Path, tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    whole = train(tiny_folder, tmp_path / "whole").model
    adapter = train(tiny_folder, tmp_path / "adapter", r=4).model
    ids = torch.tensor([[5, 6, 7]])
    for folder, kind in ((whole, AutoModelForCausalLM), (adapter, AutoPeftModelForCausalLM)):
        assert torch.isfinite(kind.from_pretrained(folder)(input_ids=ids).logits).all()
        assert AutoTokenizer.from_pretrained(folder).eos_token == "<eos>"
        card = (folder / "README.md").read_text()
        assert "learning_rate" in card
        assert str(tiny_folder) in card


def test_metrics_tokens_and_the_run_agree(tiny_folder: Path, tmp_path: Path) -> None:
    done = train(tiny_folder, tmp_path / "run", learning_rate=1e-2)
    model = LocalModel.load(str(tiny_folder), device="cpu")
    once = sum(model.count_tokens(e.prompt) + model.count_tokens(e.completion) + 1 for e in EXAMPLES)
    assert (done.steps, done.tokens, done.examples) == (6, 3 * once, 8)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert lines[-1]["tokens"] == done.tokens
    assert lines[-1]["loss"] < lines[0]["loss"]
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["stages"]["sft"]["tokens"] == done.tokens
    assert facts["dtype"] == "float32"
    assert not list((tmp_path / "run" / "checkpoints").glob("*/checkpoint-*"))


def test_token_budget_is_respected(tiny_folder: Path, tmp_path: Path) -> None:
    whole = train(tiny_folder, tmp_path / "a")
    again = train(tiny_folder, tmp_path / "b", max_tokens=whole.tokens, per_device_train_batch_size=2)
    longest = max(len(example.prompt.split()) for example in EXAMPLES) + 3
    assert whole.tokens <= again.tokens < whole.tokens + 2 * longest


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tiny_folder: Path, tmp_path: Path) -> None:
    first, second = (weights(train(tiny_folder, tmp_path / name).model) for name in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)
    with Run.create(tmp_path / "c", "rpo", {}, 4) as run:
        other = weights(
            finetune(str(tiny_folder), EXAMPLES, *staged(TrainingSettings, run, "sft", **QUICK)).model
        )
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_accumulation_does_not_change_the_result(tiny_folder: Path, tmp_path: Path) -> None:
    whole = weights(train(tiny_folder, tmp_path / "a").model)
    parts = weights(
        train(tiny_folder, tmp_path / "b", per_device_train_batch_size=2, gradient_accumulation_steps=2).model
    )
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, rtol=1e-3, atol=1e-4)


def test_finished_stage_is_skipped(tiny_folder: Path, tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", "rpo", {}, 3) as run:
        settings, stage = staged(TrainingSettings, run, "sft", **QUICK)
        first = finetune(str(tiny_folder), EXAMPLES, settings, stage)
        assert finetune("no/such-model", [], settings, stage) == first
        more = dataclasses.replace(stage, name="more", output="stages/more")
        second = finetune(str(first.model), EXAMPLES, settings, more)
    assert second.model == tmp_path / "run" / "stages" / "more"
    before, after = weights(first.model), weights(second.model)
    assert not all(torch.equal(before[name], after[name]) for name in before)


def test_invalid_examples_are_errors(tiny_folder: Path, tmp_path: Path) -> None:
    long = [EXAMPLES[0], PromptCompletion("mat " * 50, "the cat")]
    with pytest.raises(UserError, match=r"example 2 has 50 \+ 3 tokens.*expected at most 30"):
        train(tiny_folder, tmp_path / "a", long, max_length=30)
    assert train(tiny_folder, tmp_path / "b", long, max_length=30, too_long="cut").cut == 1
    with pytest.raises(UserError, match='stage "sft" has no examples'):
        train(tiny_folder, tmp_path / "c", [])
    with pytest.raises(UserError, match='stage "sft": max_length is 0, expected at least 1'):
        train(tiny_folder, tmp_path / "d", max_length=0)
    with pytest.raises(UserError, match="max_steps is 0"):
        train(tiny_folder, tmp_path / "e", max_steps=0)
    with pytest.raises(UserError, match='"openai:m" is an endpoint'):
        train(Path("openai:m"), tmp_path / "f")
    assert not list(tmp_path.glob("*/model/.*"))


def test_report_to_writes_events_or_is_an_error(tiny_folder: Path, tmp_path: Path) -> None:
    from transformers.integrations import get_available_reporting_integrations

    if "tensorboard" in get_available_reporting_integrations():
        train(tiny_folder, tmp_path / "run", report_to="tensorboard")
        assert list((tmp_path / "run" / "tensorboard" / "sft").glob("events.out.tfevents.*"))
        assert (tmp_path / "run" / "metrics.jsonl").is_file()
    else:
        with pytest.raises(UserError, match="report_to is tensorboard, which is not installed"):
            train(tiny_folder, tmp_path / "run", report_to="tensorboard")
