"""`train_rpo`: the files of a run, and rejected settings and data."""

from __future__ import annotations

import json
import shutil
import weakref
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from personakit.config import TrainRPO, load
from personakit.config.endpoint import EndpointSettings
from personakit.errors import RunError, UserError
from personakit.methods import open_run
from personakit.models.local import LocalModel
from personakit.models.refusal import Refusal
from personakit.records import Profile, Query
from personakit.rpo.rewriter import NO_HISTORY, UNREADABLE
from personakit.rpo.train import CONTEXT_INJECTION, CONTEXT_INJECTION_FOLDER, SFT, check_plan, train_rpo
from personakit.training.progress import SilentProgress
from personakit.training.run import Run
from personakit.training.supervised import StageResult


def config(model: Path, data: Path, *overrides: str) -> TrainRPO:
    settings = [f"model={model}", f"base={model}", f"data.path={data}", "decoding.max_new_tokens=4"]
    settings += [
        "sft.max_steps=3",
        "sft.per_device_train_batch_size=2",
        "lora.r=0",
        "trajectories.no_history_share=0",
        "trajectories.writer=template",
    ]
    settings += ["stages=sft"]  # faster; test_reinforce.py covers RL
    return load(TrainRPO, None, [*settings, *overrides])


def train(folder: Path, settings: TrainRPO, *, resume: bool = False) -> StageResult:
    with Run.create(folder, "rpo", asdict(settings), settings.seed, resume=resume) as run:
        return train_rpo(settings, run, SilentProgress())


@pytest.mark.slow
def test_a_run_saves_rewriter_control_and_counts_and_resumes_without_training(
    tiny_model: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trl
    from transformers import AutoModelForCausalLM

    settings, folder = config(tiny_model, tiny_data), tmp_path / "run"
    tuned = train(folder, settings)
    facts: dict[str, Any] = json.loads((folder / "run.json").read_text())
    assert facts["status"] == "finished"
    assert list(facts["stages"]) == [SFT, CONTEXT_INJECTION]
    # Two tasks of three users, one of whom has no history.
    assert facts["trajectories"] == {"kept": 6, "users without history": 2}
    assert (tuned.model, tuned.steps, tuned.examples) == (folder / "model", 3, 6)
    sft, control = facts["stages"][SFT], facts["stages"][CONTEXT_INJECTION]
    assert control["examples"] == sft["examples"]
    # The control stops at the step that reaches the same number of training tokens.
    assert 0 <= control["tokens"] - sft["tokens"] < control["tokens"] / control["steps"] * 1.5
    weights = [folder / "model", folder / CONTEXT_INJECTION_FOLDER]
    for each in weights:
        AutoModelForCausalLM.from_pretrained(each)
    kept = [(each / "model.safetensors").read_bytes() for each in weights]
    assert len({*kept, (tiny_model / "model.safetensors").read_bytes()}) == 3

    def must_not_be_called(*args: object, **kwargs: object) -> None:
        raise AssertionError("called again")

    with monkeypatch.context() as patched:
        patched.setattr(LocalModel, "generate", must_not_be_called)
        patched.setattr(trl.SFTTrainer, "train", must_not_be_called)
        assert train(folder, settings, resume=True) == tuned
    assert [(each / "model.safetensors").read_bytes() for each in weights] == kept
    # With a share of 0 nothing taught the rewriter to keep the drafts of unknown users.
    assert answers_without_history(folder) == [UNREADABLE]
    shared = folder / "config.yaml"
    shared.write_text(shared.read_text().replace("no_history_share: 0.0", "no_history_share: 0.1"))
    assert answers_without_history(folder) == [NO_HISTORY]


def answers_without_history(folder: Path) -> list[str | None]:
    query = Query("q", "LaMP_4", "Generate a headline for the following article: a b c", "a b c", "ada")
    answers = open_run(folder).respond([query], [Profile("ada", ())])
    return [each.degraded for each in answers]


@pytest.mark.parametrize(("processes", "each"), [(1, 8), (3, 2), (16, 1)])
def test_processes_divide_the_concurrent_requests(
    tiny_model: Path,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    processes: int,
    each: int,
) -> None:
    def opened(name: str, *, truncate: bool, endpoint: EndpointSettings) -> None:
        raise RunError(f"{endpoint.requests_at_once} at once", hint="")

    monkeypatch.setattr("personakit.rpo.train.process_count", lambda: processes)
    monkeypatch.setattr("personakit.rpo.train.open_language_model", opened)
    with pytest.raises(RunError, match=rf"^{each} at once$"):
        train(tmp_path / "run", config(tiny_model, tiny_data))


def test_trajectories_limit_applies_per_task_and_not_to_the_control(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    train(tmp_path / "run", config(tiny_model, tiny_data, "trajectories.limit=1"))
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    # Two tasks of three users, one of whom has no history.
    assert facts["trajectories"] == {"kept": 2, "users without history": 2}
    assert (facts["stages"][SFT]["examples"], facts["stages"][CONTEXT_INJECTION]["examples"]) == (2, 6)


def test_early_stopping_keeps_the_best_weights_and_their_tokens_for_the_control(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    stop = ["sft.metric_for_best_model=eval_loss"]
    stop += ["sft.early_stopping_patience=1", "sft.early_stopping_threshold=100"]
    settings = config(tiny_model, tiny_data, "data.held_out=1", *stop, "sft.save_steps=1", "sft.max_steps=60")
    tuned = train(tmp_path / "run", settings)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    measured = [line for line in lines if line["stage"] == SFT and "eval_loss" in line]
    # No improvement is large enough: it stops at the second evaluation and returns the first one's weights.
    assert [line["step"] for line in measured] == [10, 20]
    assert (tuned.examples, tuned.steps, tuned.best_step) == (4, 20, 10)
    assert tuned.best_value == measured[0]["eval_loss"]
    facts: dict[str, Any] = json.loads((tmp_path / "run" / "run.json").read_text())
    control = facts["stages"][CONTEXT_INJECTION]
    losses = {
        line["step"]: line["eval_loss"]
        for line in lines
        if line["stage"] == CONTEXT_INJECTION and "eval_loss" in line
    }
    assert (control["best_value"], control["best_step"]) == min((loss, at) for at, loss in losses.items())
    assert control["tokens"] >= tuned.tokens
    with pytest.raises(
        UserError, match=r"data.held_out is 3, expected less than the 3 training queries of LaMP"
    ):
        train(tmp_path / "all", config(tiny_model, tiny_data, "data.held_out=3"))


def test_data_without_a_training_split_is_rejected(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    data = shutil.copytree(tiny_data, tmp_path / "data")
    for path in data.rglob("train_*"):
        path.unlink()
    with pytest.raises(UserError, match="has no training split") as caught:
        train(tmp_path / "run", config(tiny_model, data))
    assert str(data) in caught.value.message
    with pytest.raises(UserError, match='no split "train"'):
        train(tmp_path / "named", config(tiny_model, data, "data.tasks=[LaMP_3]"))


def test_four_bit_weights_without_an_adapter_are_rejected(tiny_model: Path, tiny_data: Path) -> None:
    with pytest.raises(UserError, match=r"lora\.load_in_4bit is true and lora\.r is 0"):
        check_plan(config(tiny_model, tiny_data, "lora.load_in_4bit=true"))


@pytest.mark.slow
def test_only_the_base_model_is_loaded_for_answers_and_freed_before_training(
    tiny_model: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other weights in memory would reduce what is left for training."""
    loaded: list[weakref.ref[Any]] = []
    load_model = LocalModel.load.__func__  # type: ignore[attr-defined]

    def watched(cls: type[LocalModel], *args: Any, **kwargs: Any) -> LocalModel:
        model: LocalModel = load_model(cls, *args, **kwargs)
        loaded.append(weakref.ref(model.model))
        return model

    def finetuned(*args: Any, **kwargs: Any) -> StageResult:
        raise KeyError([model() for model in loaded])

    monkeypatch.setattr(LocalModel, "load", classmethod(watched))
    monkeypatch.setattr("personakit.rpo.train.finetune", finetuned)
    with pytest.raises(KeyError) as caught:
        train(tmp_path / "run", config(tiny_model, tiny_data))
    assert caught.value.args[0] == [None]  # loaded once, and freed before training starts


def test_data_without_gold_answers_is_rejected(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    data = shutil.copytree(tiny_data, tmp_path / "data")
    for path in data.rglob("train_outputs.json"):
        path.unlink()
    with pytest.raises(UserError, match="no training query has a gold answer"):
        train(tmp_path / "run", config(tiny_model, data))


def test_a_resumed_run_rejects_changed_data(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    data = shutil.copytree(tiny_data, tmp_path / "data")
    settings = config(tiny_model, data, "trajectories.max_tokens=16")
    with pytest.raises(UserError, match="all trajectories"):
        train(tmp_path / "run", settings)
    shutil.rmtree(data / "LaMP_3")
    with pytest.raises(UserError, match="has changed since"):
        train(tmp_path / "run", settings, resume=True)


def test_dropping_all_trajectories_is_an_error_with_counts(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    settings = config(tiny_model, tiny_data, "trajectories.max_tokens=16")
    with pytest.raises(UserError, match=r"all trajectories of 6 .*dropped.*'too long': 6") as caught:
        train(tmp_path / "run", settings)
    assert "trajectories.max_tokens" in caught.value.hint
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["trajectories"]["too long"] == 6


def test_refused_queries_are_skipped_for_the_whole_run(
    tiny_model: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate, moody = LocalModel.generate, [True]

    def refuses(self: LocalModel, prompts: list[str], **how: Any) -> list[list[str]]:
        texts = generate(self, prompts, **how)
        return [[Refusal("", "no")], *texts[1:]] if moody[0] else texts

    def kept(folder: Path, *, resume: bool = False) -> tuple[int, list[str]]:
        # Stop before training: only the texts matter here.
        with pytest.raises(KeyboardInterrupt):
            train(folder, settings, resume=resume)
        facts = json.loads((folder / "run.json").read_text())
        return facts["trajectories"]["kept"], facts.get("drafts_refused", [])

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("personakit.rpo.train.finetune", stop)
    monkeypatch.setattr(LocalModel, "generate", refuses)
    settings = config(tiny_model, tiny_data)
    count, refused = kept(tmp_path / "moody")
    assert count == 4
    assert [name.split()[0] for name in refused] == ["LaMP_3", "LaMP_7"]  # one task at a time
    moody[0] = False
    assert kept(tmp_path / "moody", resume=True) == (4, refused)
    assert kept(tmp_path / "new") == (6, [])


def test_a_base_model_that_refuses_everything_is_an_error(
    tiny_model: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        LocalModel, "generate", lambda self, prompts, **_: [[Refusal("", "not that")] for _ in prompts]
    )
    with pytest.raises(RunError, match=r"refused all 6 training queries \(not that\)"):
        train(tmp_path / "run", config(tiny_model, tiny_data))
