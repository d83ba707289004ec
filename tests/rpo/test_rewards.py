"""What a rewrite is paid: what evaluation would score of the same answer, and for its tags."""

from __future__ import annotations

from typing import Any

import pytest

from personakit.rpo.prompts import Trajectory
from personakit.rpo.rewards import answer_in, format_reward, rewards, task_reward
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
        log_metric=logged.__setitem__,
        prompts=["p"] * count,  # the trainer gives more than is read
    )
    return values, logged


@pytest.mark.parametrize("task", TASKS)
def test_the_task_reward_is_the_tasks_own_of_the_answer_that_evaluation_sees(task: str) -> None:
    gold = gold_of(task, "ada")
    responses = [gold, f"  {gold}\n", f"I think {gold}, surely", "4", "nothing of it", "zebra crossing"]
    values, _ = paid(task, *map(written, responses), gold=gold)
    for response, value in zip(responses, values, strict=True):
        # The way of an evaluation: the rewriter's answer to a query, scored by the task.
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
def test_an_unreadable_rewrite_earns_nothing_though_the_user_would_get_the_draft(text: str) -> None:
    task = get_task("LaMP_2")
    values, logged = paid("LaMP_2", text, gold="dystopia")
    assert values == [0.0]
    assert logged["unparsable"] == 1.0
    assert "answer_words" not in logged
    assert answer_in(task, text) is None
    assert format_reward(completions=[text], task=[task]) == [0.0]


def test_the_format_is_paid_whatever_the_answer_is_worth() -> None:
    task = get_task("LaMP_2")
    texts = [written("no such tag"), "bare", written("dystopia")]
    assert format_reward(completions=texts, task=[task] * 3) == [1.0, 0.0, 1.0]


def test_shares_lengths_and_the_place_in_the_curriculum_are_logged() -> None:
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


def test_the_two_are_weighed_and_logged_apart() -> None:
    assert [(reward.title, reward.weight) for reward in rewards(0.1)] == [("task", 1.0), ("format", 0.1)]
