from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from models.tiny import WORDS, sentences

from personakit.config.training import TrainingSettings
from personakit.errors import UserError
from personakit.models.local import LocalModel
from personakit.training.early_stop import EarlyStopState, Target, TargetState
from personakit.training.run import Run
from personakit.training.supervised import PromptCompletion, StageResult, finetune
from training.staging import staged

EXAMPLES = [PromptCompletion(text, WORDS[n % 30]) for n, text in enumerate(sentences(16))]
OTHERS = [PromptCompletion(text, WORDS[(n + 7) % 30]) for n, text in enumerate(sentences(8))]
QUICK: dict[str, Any] = {
    "num_train_epochs": 20,
    "per_device_train_batch_size": 8,
    "logging_steps": 2,
    "save_steps": 40,
    "eval_steps": 2,
    "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
    "warmup_ratio": 0.0,
    "device": "cpu",
    "dtype": "float32",
}


def stop(metric: str = "eval_loss", *, patience: int = 3, threshold: float = 0.0) -> dict[str, Any]:
    """Return settings with early stopping."""
    return {
        "metric_for_best_model": metric,
        "early_stopping_patience": patience,
        "early_stopping_threshold": threshold,
    }


def observed(settings: dict[str, Any], values: list[float]) -> tuple[int | None, int]:
    """Return the best step, and the number of values observed before the stop."""
    patience = EarlyStopState(TrainingSettings(**settings))
    for step, value in enumerate(values, start=1):
        patience.observe(step, value)
        if patience.should_stop:
            return patience.best_step, step
    return patience.best_step, len(values)


@pytest.mark.parametrize(
    ("settings", "values", "expected"),
    [
        (stop(patience=2), [3, 2, 1, 2, 2, 0], (3, 5)),
        (stop(patience=2), [3, 2, 2.5, 1, 2, 1], (4, 6)),
        (stop(patience=2, threshold=0.5), [3, 2.7, 2.6, 0], (1, 3)),
        (stop("eval_accuracy", patience=2), [0, 1, 0.5, 0.9, 2], (2, 4)),
        (stop(patience=2), [float("nan"), 1, 2, 3], (2, 4)),
    ],
)
def test_early_stopping_patience(
    settings: dict[str, Any], values: list[float], expected: tuple[int, int]
) -> None:
    assert observed(settings, values) == expected


def train(
    base: Path, folder: Path, stopping: dict[str, Any], *, resume: bool = False, **changes: Any
) -> StageResult:
    given = QUICK | stopping | changes
    with Run.create(folder, "rpo", given, 3, resume=resume) as run:
        return finetune(
            str(base), EXAMPLES, *staged(TrainingSettings, run, "sft", **given), evaluation=OTHERS
        )


@pytest.mark.parametrize("rank", [0, 4])
def test_weights_of_the_best_evaluation_are_kept(tiny_folder: Path, tmp_path: Path, rank: int) -> None:
    """The model overfits EXAMPLES, which eventually makes OTHERS less likely."""
    stopped = train(tiny_folder, tmp_path / "a", stop(patience=2), r=rank)
    lines = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["eval_loss"] for line in lines if "eval_loss" in line}
    best = min(losses, key=losses.__getitem__)
    assert (stopped.best_step, stopped.best_value) == (best, losses[best])
    assert stopped.steps == max(losses) == best + 4 < 40
    recorded = json.loads((tmp_path / "a" / "run.json").read_text())["stages"]["sft"]
    assert (recorded["best_step"], recorded["best_value"]) == (best, losses[best])

    model = LocalModel.load(str(stopped.model), device="cpu")
    scores = model.score([e.prompt for e in OTHERS], [e.completion for e in OTHERS])
    assert -sum(scores) / (2 * len(OTHERS)) == pytest.approx(losses[best], rel=1e-4)  # a word and the end
    assert losses[stopped.steps] > 1.001 * losses[best]


def test_stops_on_a_training_metric(tiny_folder: Path, tmp_path: Path) -> None:
    stopped = train(tiny_folder, tmp_path / "a", stop("token_accuracy"))
    lines = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    accuracy = {line["step"]: line["token_accuracy"] for line in lines if "loss" in line}
    assert stopped.best_value == max(accuracy.values())
    assert stopped.steps == (stopped.best_step or 0) + 6


def test_resumed_stage_stops_at_the_same_step(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = train(tiny_folder, tmp_path / "alone", stop())
    assert alone.best_step is not None
    log = Run.log_metrics

    def interrupt_after(step: int) -> None:
        def log_metrics(self: Run, stage: str, now: int, **values: float) -> None:
            log(self, stage, now, **values)
            if now == step and "eval_loss" in values:
                raise KeyboardInterrupt

        monkeypatch.setattr(Run, "log_metrics", log_metrics)

    for attempt, step in enumerate((alone.best_step + 4, alone.steps)):  # before the stop; at the stop
        interrupt_after(step)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_folder, tmp_path / "again", stop(), resume=attempt > 0)
    monkeypatch.setattr(Run, "log_metrics", log)
    again = train(tiny_folder, tmp_path / "again", stop(), resume=True)
    assert dataclasses.replace(again, model=alone.model) == alone
    assert (again.model / "model.safetensors").read_bytes() == (
        alone.model / "model.safetensors"
    ).read_bytes()


def test_invalid_early_stopping_metric_is_an_error(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'metric_for_best_model is "reward", expected one of .*loss'):
        train(tiny_folder, tmp_path / "a", stop("reward"))
    with pytest.raises(UserError, match="early_stopping_patience is 0"):
        train(tiny_folder, tmp_path / "b", stop(patience=0))
    with (
        Run.create(tmp_path / "c", "rpo", {}, 3) as run,
        pytest.raises(UserError, match="there is no evaluation set"),
    ):
        finetune(str(tiny_folder), EXAMPLES, *staged(TrainingSettings, run, "sft", **QUICK | stop()))


def test_target_uses_the_mean_over_its_window(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    values = [0.9, 0.2, 0.5, 0.6, 0.7]
    rows = [{"stage": "rl", "step": n, "reward": value} for n, value in enumerate(values, start=1)]
    rows.insert(2, {"stage": "rl", "step": 2, "eval_reward": 9.0})
    rows.insert(0, {"stage": "sft", "step": 1, "reward": 9.0})
    reached = []
    for count in range(len(rows) + 1):
        metrics.write_text("".join(json.dumps(row) + "\n" for row in rows[:count]))
        target = TargetState(Target(0.59, "reward", window=3))
        target.replay(metrics, "rl")
        reached.append(target.reached)
    assert reached == [False] * len(rows) + [True]  # (0.5 + 0.6 + 0.7) / 3, and none before it
