"""Filters trajectories before training. Every dropped trajectory is counted by reason."""

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
    """Number of trajectories kept, and dropped by reason."""

    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def summary(self) -> dict[str, int]:
        """Return the counts by name, "kept" first."""
        return {"kept": self.kept, **dict(sorted(self.dropped.items()))}


@dataclass(frozen=True)
class TrajectoryFilter:
    """Decides which trajectories are trained on.

    `max_tokens` limits a trajectory's length and `minimum_reward` the task reward of its response. Quotes of
    the gold answer are only checked in generation tasks: on LaMP-1 to LaMP-3 labels appear anyway. The
    `expected` response is the gold answer, or the draft where the history was left out. `traced` false: the
    trajectories are responses without tags.
    """

    count_tokens: Callable[[str], int]
    max_tokens: int
    minimum_reward: float = 0.0
    traced: bool = True

    def reason_to_drop(self, task: Task, trajectory: Trajectory | str | None, expected: str) -> str | None:
        """Return why `trajectory` is dropped; None if it is kept. A text is an unparsable trajectory."""
        if not trajectory:
            return NO_TRAJECTORY
        if isinstance(trajectory, str):
            return UNPARSABLE
        written = parse_trajectory(trajectory.text(traced=self.traced), traced=self.traced)
        if written is None or written.response != trajectory.response.strip():
            return UNPARSABLE
        if written.response != expected.strip():
            return NOT_GOLD
        if task.kind == "generation" and _quotes(expected, trajectory):
            return QUOTES_GOLD
        if self.count_tokens(trajectory.text(traced=self.traced)) > self.max_tokens:
            return TOO_LONG
        # A draft used as the target may be an invalid answer, for which no reward is defined.
        if task.valid_gold(expected) and task.reward(trajectory.response, expected) < self.minimum_reward:
            return LOW_REWARD
        return None


def _quotes(gold: str, trajectory: Trajectory) -> bool:
    """Whether evidence or plan contain the gold answer word for word; the plan `KEEP` quotes nothing."""
    quote = _normalized(gold)
    texts = [trajectory.evidence] if trajectory.plan == KEEP else [trajectory.evidence, trajectory.plan]
    return bool(quote.strip()) and any(quote in _normalized(text) for text in texts)


def _normalized(text: str) -> str:
    """Lower-cased words without punctuation, a space around each."""
    words = re.findall(r"[^\W_]+", text.casefold())
    return f" {' '.join(words)} "
