"""Rewards of rewrites in RL: the task's own reward, as in evaluation, and a format reward.

A rewrite whose tags do not parse has reward 0, although the user would get the draft: the rewriter must not
be rewarded for the base model's answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from personakit.rpo.prompts import parse_trajectory
from personakit.tasks.answers import extract_answer
from personakit.tasks.base import Task
from personakit.training.group_rl import RewardFunction

TASK, FORMAT = "task", "format"


def parse_answer(
    task: Task, written: str, own_texts: Iterable[str] = (), *, traced: bool = True
) -> str | None:
    """Return the answer in the rewriter's output, None if the output does not parse.

    `own_texts` are as in `tasks.answers`.
    """
    trajectory = parse_trajectory(written, traced=traced)
    if trajectory is None or not trajectory.response:
        return None
    return extract_answer(trajectory.response, task, own_texts)


def task_reward(
    *,
    completions: Sequence[str],
    task: Sequence[Task],
    gold: Sequence[str],
    items: Sequence[int],
    distractors: Sequence[int],
    own_texts: Sequence[Sequence[str]],
    log_metric: Callable[[str, float], None],
    traced: bool = True,
    **_: Any,
) -> list[float]:
    """Return `Task.reward` of each answer, in [0, 1].

    Logs `unparsable`, the share of rewrites without an answer; `invalid_answers`, the share of answers that
    the official scoring cannot read; `answer_words`, the mean answer length; `items` and `distractors`, their
    mean numbers in the prompts (the state of the curriculum); and each task's mean reward,
    `task_reward/LaMP_4` and so on.
    """
    answers = [
        parse_answer(one, text, own, traced=traced)
        for one, text, own in zip(task, completions, own_texts, strict=True)
    ]
    parsed = [(one, answer) for one, answer in zip(task, answers, strict=True) if answer is not None]
    log_metric("unparsable", 1 - len(parsed) / len(answers))
    if parsed:
        log_metric("invalid_answers", fmean(one.unparsable(answer) for one, answer in parsed))
        log_metric("answer_words", fmean(len(answer.split()) for _, answer in parsed))
    log_metric("items", fmean(items))
    log_metric("distractors", fmean(distractors))
    values = [
        0.0 if answer is None else one.reward(answer, target)
        for one, answer, target in zip(task, answers, gold, strict=True)
    ]
    for name in sorted({one.name for one in task}):
        log_metric(
            f"task_reward/{name}",
            fmean(value for one, value in zip(task, values, strict=True) if one.name == name),
        )
    return values


def format_reward(*, completions: Sequence[str], task: Sequence[Task], **_: Any) -> list[float]:
    """Return 1 for a rewrite whose tags contain an answer, else 0."""
    return [float(parse_answer(one, text) is not None) for one, text in zip(task, completions, strict=True)]


def reward_functions(format_weight: float, *, traced: bool = True) -> list[RewardFunction]:
    """Return both reward functions; they are logged as `reward/task` and `reward/format`.

    A rewriter without a trace has no format to reward.
    """
    task = RewardFunction(partial(task_reward, traced=traced), name=TASK)
    return [task, RewardFunction(format_reward, format_weight, name=FORMAT)] if traced else [task]
