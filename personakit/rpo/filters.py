"""Which trajectories are not trained on, and why. Every drop is counted and reported."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from personakit.rpo.prompts import Trajectory, parse_trajectory
from personakit.rpo.writer import KEEP
from personakit.tasks.base import Task

NO_TRAJECTORY = "the writer gave none"
UNPARSABLE = "the tags do not parse"
NOT_GOLD = "the response is not the gold answer"
QUOTES_GOLD = "evidence or plan quotes the gold answer"
TOO_LONG = "too long"
LOW_REWARD = "the task reward is too low"


@dataclass
class FilterCounts:
    """How many trajectories were kept, and how many dropped for which reason."""

    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def summary(self) -> dict[str, int]:
        """Counts by name, the kept ones first."""
        return {"kept": self.kept, **dict(sorted(self.dropped.items()))}


@dataclass(frozen=True)
class TrajectoryFilter:
    """Keeps a trajectory or says why not.

    `max_tokens` bounds the written trajectory; `minimum_reward` is the task's own reward of the
    response. Quoting gold is looked for in generation tasks only: on LaMP-1..3 a label is bound to
    appear. An identical response by a writer that keeps the draft (no history) is compared with the
    draft instead of gold: `expected` is whatever the response has to be.
    """

    count_tokens: Callable[[str], int]
    max_tokens: int
    minimum_reward: float = 0.0

    def reason_to_drop(self, task: Task, trajectory: Trajectory | str | None, expected: str) -> str | None:
        """Return why `trajectory`, or a text that is none, is dropped; None where it is kept."""
        if not trajectory:
            return NO_TRAJECTORY
        if isinstance(trajectory, str):
            return UNPARSABLE
        written = parse_trajectory(trajectory.text())
        if written is None or written.response != trajectory.response.strip():
            return UNPARSABLE
        if written.response != expected.strip():
            return NOT_GOLD
        if task.kind == "generation" and _quotes(expected, trajectory):
            return QUOTES_GOLD
        if self.count_tokens(trajectory.text()) > self.max_tokens:
            return TOO_LONG
        # A kept draft may be no valid answer at all, which no reward is defined against.
        if task.valid_gold(expected) and task.reward(trajectory.response, expected) < self.minimum_reward:
            return LOW_REWARD
        return None


def _quotes(gold: str, trajectory: Trajectory) -> bool:
    """Whether gold stands, word for word, in evidence or plan; a plan to keep the draft quotes nothing."""
    wanted = _plain(gold)
    shown = [trajectory.evidence] if trajectory.plan == KEEP else [trajectory.evidence, trajectory.plan]
    return bool(wanted.strip()) and any(wanted in _plain(text) for text in shown)


def _plain(text: str) -> str:
    """Words without case and punctuation, a space around each."""
    words = re.findall(r"[^\W_]+", text.casefold())
    return f" {' '.join(words)} "
