"""Rewards of rewrites: the task reward, equal to the evaluation score, and the format reward."""

from __future__ import annotations

from typing import Any

import pytest

from personakit.rpo.prompts import Trajectory
from personakit.rpo.rewards import format_reward, parse_answer, reward_functions, task_reward
from personakit.rpo.rewriter import Rewriter
from personakit.tasks import get_task

from .fakes import TASKS, AllItems, Scripted, example, gold_of


def written(response: str) -> str:
    return Trajectory("evidence", "plan", response).text()


def paid(task: str, *completions: str, gold: str, **columns: Any) -> tuple[list[float], dict[str, float]]:
    logged: dict[str, float] = {}
    count = len(completions)
    values = task_reward(
        completions=completions,
        task=[get_task(task)] * count,
        gold=[gold] * count,
        items=columns.get("items", [2] * count),
        distractors=columns.get("distractors", [0] * count),
        own_texts=columns.get("own_texts", [()] * count),
        log_metric=logged.__setitem__,
        prompts=["p"] * count,  # the trainer passes arguments that the rewards ignore
    )
    return values, logged


@pytest.mark.parametrize("task", TASKS)
def test_the_task_reward_equals_the_evaluation_score(task: str) -> None:
    gold = gold_of(task, "ada")
    responses = [gold, f"  {gold}\n", f"I think {gold}, surely", "4", "nothing of it", "zebra crossing"]
    values, _ = paid(task, *map(written, responses), gold=gold)
    for response, value in zip(responses, values, strict=True):
        # As in evaluation: the task scores the rewriter's answer to a query.
        rewriter = Rewriter(
            Scripted(lambda prompt, cap: "a draft"),
            Scripted(lambda prompt, cap, r=response: written(r)),  # type: ignore[misc]
            AllItems(),
        )
        one = example(task)
        [answer] = rewriter.respond([one.query], [one.profile])
        assert answer.degraded is None
        assert value == get_task(task).reward(answer.text, gold)
    assert values[:2] == [1.0, 1.0]
    assert values[4] < 0.5


@pytest.mark.parametrize(
    "text",
    ["dystopia", "<response>dystopia</response>", written(" "), written("dystopia") + "!", written("a")[:-1]],
)
def test_an_unparsable_rewrite_has_reward_zero(text: str) -> None:
    task = get_task("LaMP_2")
    values, logged = paid("LaMP_2", text, gold="dystopia")
    assert values == [0.0]
    assert logged["unparsable"] == 1.0
    assert "answer_words" not in logged
    assert parse_answer(task, text) is None
    assert format_reward(completions=[text], task=[task]) == [0.0]


def test_the_format_reward_does_not_depend_on_the_answer() -> None:
    task = get_task("LaMP_2")
    texts = [written("no such tag"), "bare", written("dystopia")]
    assert format_reward(completions=texts, task=[task] * 3) == [1.0, 0.0, 1.0]


def test_answer_statistics_and_curriculum_state_are_logged() -> None:
    texts = [written("dystopia"), written("not one of the tags"), "torn", written("comedy")]
    values, logged = paid("LaMP_2", *texts, gold="dystopia", items=[1, 1, 2, 2], distractors=[0, 0, 1, 1])
    assert values == [1.0, 0.0, 0.0, 0.0]
    assert logged == {
        "unparsable": 0.25,
        "invalid_answers": pytest.approx(1 / 3),
        "answer_words": pytest.approx((1 + 5 + 1) / 3),
        "items": 1.5,
        "distractors": 0.5,
        "task_reward/LaMP_2": 0.25,
    }


def test_both_rewards_are_weighted_and_logged_separately() -> None:
    assert [(reward.title, reward.weight) for reward in reward_functions(0.1)] == [
        ("task", 1.0),
        ("format", 0.1),
    ]
