"""The joint training step: gradients, schedules, and the data of each user."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training.adapters import make_adapter

from personakit.config.train_popi import JointSettings
from personakit.config.training import LoraSettings
from personakit.errors import RunError, UserError
from personakit.models.local import LocalModel
from personakit.popi import joint, trainer
from personakit.popi.adapters import adapter_weights
from personakit.popi.joint import train_jointly
from personakit.popi.likelihood import PairLikelihood
from personakit.popi.rows import SummarisedUser
from personakit.popi.summaries import Summary
from personakit.training.fitting import StageResult
from personakit.training.preference import TrainingPair
from personakit.training.run import Run
from personakit.training.stage import Stage
from popi.codes import ANSWERS, users, with_summary

SETTINGS = JointSettings(
    max_steps=2,
    per_device_train_batch_size=4,
    num_summaries=3,
    num_pairs=4,
    max_summary_tokens=3,
    learning_rate=5e-3,
    generator_learning_rate=5e-3,
    beta=0.5,
    max_grad_norm=1e9,
)
STAGE = {"device": "cpu", "dtype": "float32", "max_length": 64, "group_by_length": False}


def train(
    folder: Path,
    root: Path,
    settings: JointSettings,
    people: Sequence[SummarisedUser] | None = None,
    *,
    lora: LoraSettings | None = None,
    max_tokens: int | None = None,
    **more: Any,
) -> StageResult:
    with Run.create(root / "run", "popi", {}, 1) as run:
        stage = Stage(run, "joint", lora=lora or LoraSettings(r=4), max_tokens=max_tokens, **STAGE)
        return train_jointly(str(folder), people or users(), with_summary, settings, stage, **more)


def lines(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "run" / "metrics.jsonl").read_text().splitlines()]


def watch_steps(
    monkeypatch: pytest.MonkeyPatch, after: Callable[[Any, list[Any], list[list[Summary]]], None]
) -> None:
    """Call `after(trainer, visits, summaries)` with a step's gradients, before the optimizer uses them."""
    made: list[list[list[Summary]]] = []
    sample, step = trainer.sample_summaries, trainer.JointTrainer.training_step

    def sampled(*args: Any, **kwargs: Any) -> list[list[Summary]]:
        made.append(sample(*args, **kwargs))
        return made[-1]

    def stepped(self: Any, model: Any, inputs: Any, *rest: Any) -> Any:
        loss = step(self, model, inputs, *rest)
        after(self, [self._data.visits[place] for place in inputs["place"].tolist()], made[-1])
        return loss

    monkeypatch.setattr(trainer, "sample_summaries", sampled)
    monkeypatch.setattr(trainer.JointTrainer, "training_step", stepped)


def plain_logp(network: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """log p(answer | prompt) of one row, from its logits."""
    logits = network.get_base_model()(input_ids=torch.tensor([prompt + answer]), use_cache=False).logits[0]
    picked = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return picked.gather(-1, torch.tensor(answer)[:, None]).sum()


@pytest.mark.parametrize(("recomputed", "learnt"), [(False, None), (True, 2)])
def test_the_gradients_equal_those_of_the_objective_computed_row_by_row(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recomputed: bool, learnt: int | None
) -> None:
    warm = {
        "inference": make_adapter(tiny_folder, tmp_path / "a"),
        "generator": make_adapter(tiny_folder, tmp_path / "b"),
    }
    settings = replace(
        SETTINGS, gradient_checkpointing=recomputed, generator_summaries=learnt, kl_coef=0.3, max_steps=1
    )
    settings = replace(settings, base_share=0.4 if learnt else 0.0)
    people = [*users(3), replace(users(4)[3], pairs=users(4)[3].pairs[:2])]  # one user has only two pairs
    compared: list[str] = []

    def compare(self: Any, visits: list[Any], groups: list[list[Summary]]) -> None:
        network, tokenizer = self.accelerator.unwrap_model(self.model), self.processing_class
        ours = {
            role: [weight.grad.clone() for weight in adapter_weights(network, role)]
            for role in ("inference", "generator")
        }

        def ids(text: str) -> list[int]:
            return list(tokenizer(text)["input_ids"])

        def on(role: str) -> None:
            network.set_adapter(role)
            network.eval()

        everyone = {user.user_id: user for user in people}
        total, paid = torch.zeros(()), []
        for visit, group in zip(visits, groups, strict=True):
            user = list(everyone.values())[visit.user]
            for number, summary in enumerate(group):
                losses, by_base = [], []
                for place in visit.pairs:
                    pair = user.pairs[place]
                    told = ids(with_summary(pair.prompt, summary.text))
                    gaps, base_gaps = [], []
                    for answer in ([*ids(pair.chosen), 1], [*ids(pair.rejected), 1]):
                        with torch.no_grad(), network.disable_adapter():
                            reference = plain_logp(network, ids(pair.prompt), answer)
                            base_gaps.append(plain_logp(network, told, answer) - reference)
                        on("generator")
                        gaps.append(plain_logp(network, told, answer) - reference)
                    losses.append(torch.log1p(torch.exp(-settings.beta * (gaps[0] - gaps[1]))))
                    by_base.append(torch.log1p(torch.exp(-settings.beta * (base_gaps[0] - base_gaps[1]))))
                loss = torch.stack(losses).mean()
                paid.append(-torch.lerp(loss.detach(), torch.stack(by_base).mean(), settings.base_share))
                if number < (learnt or 3):
                    total = total + loss / (len(visits) * (learnt or 3))
        on("generator")
        expected = {"generator": torch.autograd.grad(total, adapter_weights(network, "generator"))}

        # The adapter still has its initial weights, so the KL penalty is 0.
        on("inference")
        surrogate = torch.zeros(())
        for at, (visit, group) in enumerate(zip(visits, groups, strict=True)):
            prompt = ids(people[visit.user].summary_prompt)
            own = torch.stack(paid[3 * at : 3 * at + 3])
            for number, summary in enumerate(group):
                baseline = (own.sum() - own[number]) / 2
                log_q = plain_logp(network, prompt, summary.tokens)
                surrogate = surrogate - (own[number] - baseline) * log_q / (3 * len(visits))
        expected["inference"] = torch.autograd.grad(surrogate, adapter_weights(network, "inference"))
        for role, gradients in expected.items():
            for one, other in zip(ours[role], gradients, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
            assert max(float(gradient.abs().max()) for gradient in gradients) > 1e-2
        compared.append("all")

    watch_steps(monkeypatch, compare)
    train(tiny_folder, tmp_path, settings, people, warm=warm)
    assert compared == ["all"]


@pytest.mark.slow
def test_the_inference_model_learns_informative_summaries(tiny_folder: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_steps=60, num_summaries=6, max_summary_tokens=1, logging_steps=10)
    settings = replace(settings, learning_rate=4e-3, generator_learning_rate=1e-2, max_grad_norm=1.0)
    made = train(tiny_folder, tmp_path, settings, lora=LoraSettings(r=8))
    logged = lines(tmp_path)
    assert logged[0]["reward"] < -0.5
    assert logged[-1]["reward"] > -0.25  # at most -log 2 without knowledge of the user
    assert logged[-1]["accuracy"] > 0.93
    assert logged[-1]["entropy"] < 0.5 * logged[0]["entropy"]
    # Users of different types have different summaries.
    model = LocalModel.load(str(made.model / "inference"))
    said = [answer for (answer,) in model.generate([u.summary_prompt for u in users()], max_new_tokens=1)]
    assert len({(code, number % 4) for number, code in enumerate(said)}) == len(set(said)) >= 4


def test_the_alternating_schedule_alternates_and_a_frozen_generator_is_unchanged(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moving: list[tuple[bool, bool]] = []

    def note(self: Any, *_: Any) -> None:
        network = self.accelerator.unwrap_model(self.model)
        inference, generator = (
            any(w.grad is not None for w in adapter_weights(network, role))
            for role in ("inference", "generator")
        )
        moving.append((inference, generator))

    watch_steps(monkeypatch, note)
    settings, lora = replace(SETTINGS, max_steps=6), LoraSettings(r=4, lora_dropout=0.1)
    in_turns = replace(settings, schedule="alternating", alternate_every=2)
    train(tiny_folder, tmp_path / "a", in_turns, lora=lora)
    assert moving == 2 * [(True, False)] + 2 * [(False, True)] + 2 * [(True, False)]
    assert [("kl" in line, "grad_norm_generator" in line) for line in lines(tmp_path / "a")] == moving
    moving.clear()
    warm = make_adapter(tiny_folder, tmp_path / "warm")
    made = train(
        tiny_folder,
        tmp_path / "b",
        replace(settings, schedule="generator-frozen"),
        lora=lora,
        warm={"inference": warm, "generator": warm},
    )
    assert moving == 6 * [(True, False)]
    before = load_file(warm / "adapter_model.safetensors")
    generator = load_file(made.model / "generator" / "adapter_model.safetensors")
    inference = load_file(made.model / "inference" / "adapter_model.safetensors")
    assert all(torch.equal(generator[name], weight) for name, weight in before.items())
    assert all(not torch.equal(inference[name], weight) for name, weight in before.items())


def test_the_reference_sees_no_summary_and_pairs_only_their_own_users_summaries(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each user has their own queries, so that the tokens identify the user.
    people = [
        replace(
            user,
            pairs=tuple(
                TrainingPair(f"word{9 * number + at}", p.chosen, p.rejected)
                for at, p in enumerate(user.pairs)
            ),
        )
        for number, user in enumerate(users(4))
    ]
    referred: list[Any] = []
    inner, scored = joint.reference_logps, trainer.likelihood
    rows: list[tuple[list[int], list[int]]] = []
    met: set[tuple[str, str]] = set()

    def referring(network: Any, asked: Sequence[Any], **how: Any) -> list[float]:
        referred.extend(asked)
        return inner(network, asked, **how)

    def scoring(model: Any, prompts: Any, answers: Any, **how: Any) -> Any:
        rows.extend(zip(prompts, answers, strict=True))
        return scored(model, prompts, answers, **how)

    monkeypatch.setattr(joint, "reference_logps", referring)
    monkeypatch.setattr(trainer, "likelihood", scoring)
    steps = 0

    def check(self: Any, visits: list[Any], groups: list[list[Summary]]) -> None:
        nonlocal steps
        tokenizer = self.processing_class
        told = [(tokenizer.decode(prompt), tokenizer.decode(answer[:-1])) for prompt, answer in rows]
        expected = set()
        for visit, group in zip(visits, groups, strict=True):
            asked = tokenizer.decode(self._data.users[visit.user].summary_prompt)
            for summary in group:
                for place in visit.pairs:  # the same for all summaries of a user
                    pair = people[visit.user].pairs[place]
                    prompt = tokenizer.decode(tokenizer(with_summary(pair.prompt, summary.text))["input_ids"])
                    expected |= {(prompt, pair.chosen), (prompt, pair.rejected)}
                    met.update({(pair.prompt, pair.chosen), (pair.prompt, pair.rejected)})
                assert len(summary.tokens) <= 3
                assert summary.capped == (len(summary.tokens) == 3 and summary.tokens[-1] != 1)
                ended = summary.tokens if summary.capped else summary.tokens[:-1]
                assert 1 not in ended
                expected.add((asked, tokenizer.decode(summary.tokens[:-1])))
        assert set(told) == expected
        rows.clear()
        steps += 1

    watch_steps(monkeypatch, check)
    train(tiny_folder, tmp_path, SETTINGS, people)
    assert steps == 2
    model = LocalModel.load(str(tiny_folder))
    told = [(model.tokenizer.decode(row.prompt), model.tokenizer.decode(row.answer[:-1])) for row in referred]
    assert sorted(told) == sorted(met)  # prompts without summary, once each, and only of pairs in some step


def test_logged_metrics_match_the_sampled_summaries(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    red, nothing = Summary("red", [5, 1], capped=False), Summary("", [1], capped=False)
    long = Summary("red cat on", [5, 6, 7], capped=True)
    monkeypatch.setattr(trainer, "sample_summaries", lambda *_, **__: [[red, red, red], [red, nothing, long]])
    train(tiny_folder, tmp_path, replace(SETTINGS, per_device_train_batch_size=2, max_steps=1))
    (line,) = lines(tmp_path)
    assert line["summaries_capped"] == pytest.approx(1 / 6)
    assert line["summaries_empty"] == pytest.approx(1 / 6)
    assert line["summaries_distinct"] == pytest.approx((1 / 3 + 1) / 2)
    assert line["summary_tokens"] == pytest.approx((2 + 2 + 2 + 2 + 1 + 3) / 6)
    assert line["groups_without_spread"] == 0.5
    assert line["generator_loss"] == pytest.approx(-line["reward"])
    assert line["kl"] == pytest.approx(0, abs=1e-5)


def test_held_out_users_are_evaluated_against_no_summary_and_another_users(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sampled summary names its own user's answer."""
    signs = {tuple(ids): kind for kind, ids in _signs(tiny_folder).items()}

    def sample(model: Any, tokenizer: Any, prompts: Any, places: Any, *, group: int, **_: Any) -> Any:
        return [[Summary(ANSWERS[signs[tuple(prompt)]], [5, 1], False)] * group for prompt in prompts]

    def score(model: Any, prompts: Any, answers: Any, **_: Any) -> PairLikelihood:
        """An answer that stands in its prompt is a nat likelier."""
        rows = zip(prompts, answers, strict=True)
        log_p = torch.tensor([float(answer[0] in prompt) for prompt, answer in rows])
        return PairLikelihood(log_p, torch.zeros(len(answers)))

    monkeypatch.setattr(trainer, "sample_summaries", sample)
    monkeypatch.setattr(trainer, "likelihood", score)
    monkeypatch.setattr(joint, "reference_logps", lambda network, rows, **_: [0.0] * len(rows))
    monkeypatch.setattr(trainer.JointTrainer, "training_step", lambda *_, **__: torch.zeros(()))
    train(tiny_folder, tmp_path, replace(SETTINGS, max_steps=1, save_steps=1), evaluation=users(4))
    [line] = [each for each in lines(tmp_path) if "eval_reward" in each]
    assert line["eval_accuracy"] == 1.0
    assert line["eval_accuracy_none"] == 0.5
    assert line["eval_accuracy_another"] < 0.5
    gained = math.log2(2 / (1 + math.exp(-0.5)))  # beta is 0.5
    assert line["eval_bits_over_none"] == pytest.approx(gained)
    assert line["eval_bits_over_another"] > gained
    assert line["eval_users_distinct"] == 1.0


def _signs(folder: Path) -> dict[int, list[int]]:
    """The summary prompt's tokens for each type of user."""
    tokenizer = LocalModel.load(str(folder)).tokenizer
    return {kind: tokenizer(user.summary_prompt)["input_ids"] for kind, user in enumerate(users(4))}


def test_the_result_is_two_adapters_that_peft_loads(tiny_folder: Path, tmp_path: Path) -> None:
    made = train(tiny_folder, tmp_path, SETTINGS, evaluation=users(4))
    answers = {
        role: LocalModel.load(str(made.model / role)).score(["the"], ["red"])
        for role in ("inference", "generator")
    }
    assert answers["inference"] != answers["generator"]
    assert sorted(path.name for path in made.model.iterdir() if path.is_dir()) == ["generator", "inference"]
    assert {line["eval_reward"] for line in lines(tmp_path) if "eval_reward" in line}
    assert "/generator" in (made.model / "README.md").read_text()


def test_early_stopping_keeps_the_best_weights(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before: list[dict[str, list[torch.Tensor]]] = []

    def keep(self: Any, *_: Any) -> None:
        network = self.accelerator.unwrap_model(self.model)
        roles = ("inference", "generator")
        before.append({role: [w.detach().clone() for w in adapter_weights(network, role)] for role in roles})

    watch_steps(monkeypatch, keep)
    settings = replace(SETTINGS, max_steps=8, metric_for_best_model="reward", early_stopping_patience=2)
    # A learning rate that makes the reward worse, and no weight infinite.
    settings = replace(settings, learning_rate=0.3, generator_learning_rate=0.3, lr_scheduler_type="constant")
    made = train(tiny_folder, tmp_path, settings)
    assert made.best_step is not None
    assert made.best_step < made.steps
    for role, weights in before[made.best_step].items():
        saved = load_file(made.model / role / "adapter_model.safetensors")
        assert len(saved) == len(weights)
        assert {float(w.double().sum()) for w in saved.values()} == {float(w.double().sum()) for w in weights}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda user: replace(user, pairs=()), 'user "user 0" has no held-out pair'),
        (
            lambda user: replace(user, pairs=(TrainingPair("word1", "red", "red"),)),
            'user "user 0", held-out pair 1: chosen and rejected are the same ("red")',
        ),
        (
            lambda user: replace(user, pairs=(user.pairs[0], TrainingPair("word1", "red", " "))),
            'user "user 0", held-out pair 2: rejected is empty',
        ),
        (
            lambda user: replace(user, summary_prompt="the " * 62),
            'the signals of user "user 0": the prompt has 62 tokens and its completion up to 3',
        ),
        (
            lambda user: replace(user, pairs=(TrainingPair("the " * 59, "red", "blue"),)),
            'user "user 0", held-out pair 1: the prompt has 60 tokens and its completion up to 5',
        ),
    ],
)
def test_invalid_users_are_rejected_by_name(
    tiny_folder: Path, tmp_path: Path, change: Callable[[SummarisedUser], SummarisedUser], said: str
) -> None:
    people = [change(users(1)[0]), *users(4)[1:]]
    with pytest.raises(UserError) as told:
        train(tiny_folder, tmp_path, SETTINGS, people)
    assert said in told.value.message


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_summaries": 1}, "num_summaries is 1, expected at least 2"),
        ({"generator_summaries": 4}, "generator_summaries is 4, expected 1 to 3"),
        ({"beta": 0.0}, "beta is 0.0, expected at least 0.0001"),
        ({"base_share": 1.5}, "base_share is 1.5, expected at most 1"),
        ({"base_share": 0.5, "reference": "generator"}, "base_share is 0.5 and reference is generator"),
    ],
)
def test_invalid_settings_are_rejected(
    tiny_folder: Path, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as told:
        train(tiny_folder, tmp_path, replace(SETTINGS, **settings))
    assert said in told.value.message


def test_unsupported_stage_settings_are_rejected(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lora\.r is 0, but POPI trains two adapters"):
        train(tiny_folder, tmp_path / "a", SETTINGS, lora=LoraSettings(r=0))
    with pytest.raises(UserError, match="max_tokens is set"):
        train(tiny_folder, tmp_path / "b", SETTINGS, max_tokens=10)


def test_a_warm_start_with_another_rank_is_rejected(tiny_folder: Path, tmp_path: Path) -> None:
    warm = make_adapter(tiny_folder, tmp_path / "warm", rank=2)
    with pytest.raises(UserError) as told:
        train(tiny_folder, tmp_path, SETTINGS, warm={"generator": warm})
    assert "has rank 2, but lora.r is 4" in told.value.message


def test_a_rate_far_too_high_fails_at_its_step(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r'stage "joint", step [23]: the .* expected a finite number'):
        train(tiny_folder, tmp_path, replace(SETTINGS, max_steps=3, learning_rate=1e30, warmup_ratio=0.0))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"


def test_summaries_are_sampled_and_scored_without_dropout(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: set[float] = set()

    def after(self: Any, visits: list[Any], summaries: list[list[Summary]]) -> None:
        rates.update(float(each.p) for each in self.model.modules() if isinstance(each, torch.nn.Dropout))

    watch_steps(monkeypatch, after)
    train(tiny_folder, tmp_path, replace(SETTINGS, max_steps=1), lora=LoraSettings(r=4, lora_dropout=0.5))
    assert rates == {0.0}
