"""What a rewrite earns in RL: the task's own reward, by the object that evaluation scores with, and format.

A rewrite whose tags do not parse earns nothing, though the user would be given the draft then: a rewriter
must not be paid for the base model's answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from personakit.rpo.dataset import draft_text
from personakit.rpo.prompts import parse_trajectory
from personakit.tasks.base import Task
from personakit.training.group_rl import RewardFunction

TASK, FORMAT = "task", "format"


def answer_in(task: Task, written: str) -> str | None:
    """Return the answer that the user is given for what the rewriter wrote; None where it is unreadable."""
    trajectory = parse_trajectory(written)
    if trajectory is None or not trajectory.response:
        return None
    return draft_text(task, trajectory.response)


def task_reward(
    *,
    completions: Sequence[str],
    task: Sequence[Task],
    gold: Sequence[str],
    items: Sequence[int],
    distractors: Sequence[int],
    log_metric: Callable[[str, float], None],
    **_: Any,
) -> list[float]:
    """Return `Task.reward` of each answer, in [0, 1].

    Logs beside it: `unparsable`, the share of rewrites without an answer; `invalid_answers`, the share of
    answers that official scoring cannot read; `answer_words`, the mean length of an answer; and where the
    curriculum stands: `items` and `distractors`, the mean number of either in the prompts; and each task's
    own mean reward, `task_reward/LaMP_4` and so on.
    """
    answers = [answer_in(one, text) for one, text in zip(task, completions, strict=True)]
    read = [(one, answer) for one, answer in zip(task, answers, strict=True) if answer is not None]
    log_metric("unparsable", 1 - len(read) / len(answers))
    if read:
        log_metric("invalid_answers", fmean(one.unparsable(answer) for one, answer in read))
        log_metric("answer_words", fmean(len(answer.split()) for _, answer in read))
    log_metric("items", fmean(items))
    log_metric("distractors", fmean(distractors))
    earned = [
        0.0 if answer is None else one.reward(answer, wanted)
        for one, answer, wanted in zip(task, answers, gold, strict=True)
    ]
    for name in sorted({one.name for one in task}):
        log_metric(
            f"task_reward/{name}",
            fmean(value for one, value in zip(task, earned, strict=True) if one.name == name),
        )
    return earned


def format_reward(*, completions: Sequence[str], task: Sequence[Task], **_: Any) -> list[float]:
    """Return 1 for a rewrite that holds an answer in its tags, else 0."""
    return [float(answer_in(one, text) is not None) for one, text in zip(task, completions, strict=True)]


def rewards(format_weight: float) -> list[RewardFunction]:
    """Return both, each logged by itself: `reward/task` and `reward/format`."""
    return [RewardFunction(task_reward, name=TASK), RewardFunction(format_reward, format_weight, name=FORMAT)]
