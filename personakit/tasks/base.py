"""What a task is: one object that prompts, reads answers, pays rewards and scores.

`kinds.py` has the three kinds there are, `lamp.py` and `rewriting.py` fill them in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from personakit.data.lamp_formats import TaskFormat, item_input, item_output
from personakit.records import Context, ProfileItem, Query
from personakit.tasks.profile_prompt import ProfilePrompt

Kind = Literal["label", "ordinal", "generation"]


@dataclass(frozen=True)
class Task(ABC):
    """One task of a benchmark.

    `metrics` are the official ones by their upstream names, `primary` the one that counts, and
    `lower_is_better` holds for all of them. `labels` is empty for free text. `max_new_tokens` is
    long enough for any answer.
    """

    name: str
    metrics: tuple[str, ...]
    primary: str
    max_new_tokens: int
    profile_prompt: ProfilePrompt
    labels: tuple[str, ...] = ()

    kind: ClassVar[Kind]
    lower_is_better: ClassVar[bool] = False

    def prompt(self, query: Query) -> str:
        """Return the zero-shot prompt: the input as the benchmark words it."""
        return query.text

    def prompt_with_context(
        self, query: Query, context: Context, *, count_tokens: Callable[[str], int], max_length: int
    ) -> str:
        """Return the input with the user's context in it: LaMP's in-prompt augmentation.

        `count_tokens` is the reading model's own; `max_length` is its window in tokens (LaMP: 512).
        A summary and pool prompts, which LaMP does not know, stand in lines above, in full. With an
        empty context this is `prompt(query)`.
        """
        lines = [*context.prompts, *([context.summary] if context.summary else [])]
        above = "".join(f"{line}\n" for line in lines)
        left = max_length - count_tokens(above) if above else max_length
        return above + self.profile_prompt.fill(
            query.text, context.items, count_tokens=count_tokens, max_length=left
        )

    def item_parts(self, item: ProfileItem) -> tuple[str | None, str]:
        """Return what the user started from in an item (None in LaMP-7) and what they made of it."""
        return item_input(self.name, item), item_output(self.name, item)

    def score(self, predictions: Sequence[str], golds: Sequence[str]) -> dict[str, float]:
        """Return the official metrics over a corpus, by upstream's names; nothing is extracted.

        Raises `ValueError` where there is nothing to score or the two differ in length.
        """
        if not golds or len(predictions) != len(golds):
            raise ValueError(f"{len(predictions)} predictions for {len(golds)} golds of {self.name}")
        return self._corpus_scores(predictions, golds)

    def figure(self, metrics: Mapping[str, float]) -> float:
        """Return the primary metric in [0, 1], higher better, as the mean over tasks takes it."""
        return metrics[self.primary]

    @abstractmethod
    def parse(self, text: str) -> str | None:
        """Return the answer found in a model's raw text, or None.

        This extraction is ours: upstream scores raw text as it stands. Report it with the score.
        """

    @abstractmethod
    def reward(self, text: str, gold: str) -> float:
        """Return what an answer earns in RL, in [0, 1] (ROPG, arXiv 2404.05970); nothing is extracted."""

    @abstractmethod
    def utility(self, prediction: str, gold: str) -> float:
        """Return one sample's worth in [0, 1], higher better: what the primary figure is the mean of."""

    @abstractmethod
    def sample_scores(self, prediction: str, gold: str) -> dict[str, float]:
        """Return the metrics of one sample alone: those whose corpus value is a mean (RMSE: of squares)."""

    @abstractmethod
    def unparsable(self, prediction: str) -> bool:
        """Return whether official scoring cannot read this prediction and falls back on its rule."""

    @abstractmethod
    def valid_gold(self, gold: str) -> bool:
        """Return whether this can be a reference answer of the task at all."""

    @abstractmethod
    def _corpus_scores(self, predictions: Sequence[str], golds: Sequence[str]) -> dict[str, float]: ...


@dataclass(frozen=True, slots=True)
class TaskPlugin:
    """A task of an installed package (`plugins.py`): how its files look, and how it is prompted and scored.

    `format.task`, `format.file_task` and `task.name` are the entry point's name.
    """

    format: TaskFormat
    task: Task
