"""Reports group RL that learns nothing, because all completions of a prompt have the same reward."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

#: The metric: the fraction of a step's prompts whose completions all have the same reward.
METRIC = "groups_without_spread"
#: Logged steps in a row without any difference before the warning (our choice).
PATIENCE = 5


class FlatRewards:
    """Follows the metric of one stage and warns once."""

    def __init__(self, stage: str) -> None:
        """Start without steps."""
        self._stage = stage
        self._streak = 0
        self._warned = False

    def observe(self, line: Mapping[str, Any]) -> None:
        """Add a line of metrics.jsonl if it has the metric; warn on stderr after `PATIENCE` flat ones."""
        if METRIC not in line:
            return
        self._streak = self._streak + 1 if line[METRIC] == 1 else 0
        if self._streak >= PATIENCE:
            self._warn(f"the last {self._streak} logged steps")

    def share(self, lines: Iterable[Mapping[str, Any]]) -> float | None:
        """Return the mean of the metric over all lines of the stage, None without any; warn if it is 1."""
        values = [float(line[METRIC]) for line in lines if line.get(METRIC) is not None]
        if not values:
            return None
        share = sum(values) / len(values)
        if share == 1:
            self._warn(f"all {len(values)} logged steps")
        return share

    def _warn(self, when: str) -> None:
        if self._warned:
            return
        self._warned = True
        print(
            f'warning: stage "{self._stage}": in {when} all completions of a prompt had the same reward, '
            "which gives no gradient: raise the temperature or num_generations, or look at the rewards in "
            "rollouts.jsonl",
            file=sys.stderr,
        )
