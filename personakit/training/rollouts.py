"""Calls reward functions with plain texts, and logs a sample of the rollouts.

TRL calls reward functions with conversations if the tokenizer has a chat template, and with columns of an
Arrow table. Our reward functions get plain texts and arbitrary objects from the prompts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from personakit.errors import UserError
from personakit.files import atomic_file, json_text
from personakit.models.tokens import decode_answers

#: Arguments of a reward function in addition to the columns of its prompts.
_GIVEN = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")
_RESERVED = {*_GIVEN, "prompt", "completion", "row", "image", "images", "tools", "environment"}


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt to sample completions for, and objects for its rewards, by name."""

    text: str
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RewardFunction:
    """A reward function and its weight in the sum; a reward of weight 0 is only logged.

    `function` gets keyword arguments: `prompts` and `completions` (lists of str), `completion_ids` (lists of
    token ids), every column of the prompts (a list with one value per completion), `trainer_state`, and
    `log_metric(name, value)`, which logs to metrics.jsonl. It returns one number per completion, or None if
    it does not apply.
    """

    function: Callable[..., Sequence[float | None]]
    weight: float = 1.0
    name: str = ""

    @property
    def title(self) -> str:
        """The name in the log: `reward/<title>`."""
        return self.name or str(getattr(self.function, "__name__", type(self.function).__name__))


class RolloutLog:
    """rollouts.jsonl: one line per completion, for some prompts of some generations.

    Texts are not escaped.
    """

    def __init__(self, path: Path, stage: str, *, every: int, prompts: int, group: int, writes: bool) -> None:
        """Log the first `prompts` groups of `group` rows in the first batch of every `every`-th step."""
        self.training: Callable[[], bool] = lambda: True
        self._path = path
        self._stage = stage
        self._every = every
        self._rows = prompts * group
        self._writes = writes and prompts > 0
        self._step = -1

    def rewind(self, step: int) -> None:
        """Remove this stage's rollouts from step `step` on, which will be sampled again."""
        self._step = -1
        if not self._writes or not self._path.is_file():
            return
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        kept = [line for line in whole if not _is_later(json.loads(line), self._stage, step)]
        if kept != lines:
            with atomic_file(self._path) as temporary:
                temporary.write_text("".join(kept), encoding="utf-8")

    def write(
        self,
        step: int,
        prompts: Sequence[str],
        completions: Sequence[str],
        lengths: Sequence[int],
        rewards: Mapping[str, Sequence[float | None]],
        totals: Sequence[float | None],
    ) -> None:
        """Write the completions sampled at `step`, if this step is logged."""
        if not self._writes or not self.training() or step % self._every or step == self._step:
            return
        self._step = step
        with self._path.open("a", encoding="utf-8") as handle:
            for place in range(min(self._rows, len(prompts))):
                line = {
                    "stage": self._stage,
                    "step": step,
                    "prompt": prompts[place],
                    "completion": completions[place],
                    "tokens": lengths[place],
                    "reward": totals[place],
                    "rewards": {name: values[place] for name, values in rewards.items()},
                }
                handle.write(json_text(line) + "\n")


class RewardDispatcher:
    """Calls the reward functions for the trainer."""

    def __init__(
        self, rewards: Sequence[RewardFunction], prompts: Sequence[Prompt], tokenizer: Any, log: RolloutLog
    ) -> None:
        """`row` in the trainer's dataset is an index into `prompts`. Raises `UserError` for invalid names."""
        self._tokenizer = tokenizer
        self._rewards = list(rewards)
        self._prompts = prompts
        self._log = log
        self._batch: dict[str, list[float | None]] = {}
        self.metrics: set[str] = set()
        """Names of the metrics that reward functions have logged."""
        titles = [reward.title for reward in rewards]
        twice = sorted({title for title in titles if titles.count(title) > 1})
        if twice:
            raise UserError(
                f'two rewards are called "{twice[0]}"', hint="give each RewardFunction a different name"
            )
        self._columns = list(prompts[0].columns) if prompts else []
        for number, prompt in enumerate(prompts, start=1):
            if set(prompt.columns) != set(self._columns):
                raise UserError(
                    f"prompt {number} has the columns {sorted(prompt.columns)}, expected "
                    f"{sorted(self._columns)} like the first",
                    hint="give every prompt the same columns; a value may be None",
                )
        taken = sorted(_RESERVED & set(self._columns))
        if taken:
            raise UserError(f'a column of the prompts has the reserved name "{taken[0]}"', hint="rename it")

    def functions(self) -> list[Callable[..., list[float | None]]]:
        """Return the functions for the trainer, in the order of the rewards."""
        return [self._wrapped(reward) for reward in self._rewards]

    def _wrapped(self, reward: RewardFunction) -> Callable[..., list[float | None]]:
        def function(
            *,
            completion_ids: Sequence[Sequence[int]],
            row: Sequence[int],
            trainer_state: Any,
            log_metric: Callable[[str, float], None],
            **_: Any,
        ) -> list[float | None]:
            def log(name: str, value: float) -> None:
                self.metrics.add(name)
                log_metric(name, float(value))

            # Decode as `LocalModel.generate` does; TRL may parse an answer into several messages.
            texts = [text or "" for text in decode_answers(self._tokenizer, completion_ids)]
            shown = [self._prompts[place] for place in row]
            values = list(
                reward.function(
                    prompts=[prompt.text for prompt in shown],
                    completions=texts,
                    completion_ids=completion_ids,
                    trainer_state=trainer_state,
                    log_metric=log,
                    **{name: [prompt.columns[name] for prompt in shown] for name in self._columns},
                )
            )
            if len(values) != len(texts):
                raise ValueError(
                    f"reward {reward.title} returned {len(values)} values for {len(texts)} completions"
                )
            self._batch[reward.title] = values
            if len(self._batch) == len(self._rewards):
                self._finish(trainer_state.global_step, [p.text for p in shown], texts, completion_ids)
            return values

        function.__name__ = reward.title
        return function

    def _finish(
        self, step: int, prompts: list[str], texts: list[str], completion_ids: Sequence[Sequence[int]]
    ) -> None:
        totals = [self._total(place) for place in range(len(texts))]
        self._log.write(step, prompts, texts, [len(ids) for ids in completion_ids], self._batch, totals)
        self._batch = {}

    def _total(self, place: int) -> float | None:
        """Return the weighted sum of the rewards that apply to a completion; None if none does."""
        parts = [(reward.weight, self._batch[reward.title][place]) for reward in self._rewards]
        applied = [weight * value for weight, value in parts if value is not None]
        return sum(applied) if applied else None


def _is_later(line: Mapping[str, Any], stage: str, step: int) -> bool:
    return bool(line["stage"] == stage and line["step"] >= step)
