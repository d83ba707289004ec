"""The task interface: prompts, parsing, rewards and scores of one task in one object.

`kinds.py` implements the three kinds of tasks; `lamp.py`, `rewriting.py` and `writing.py` instantiate them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from personakit.data.lamp_formats import TaskFormat, item_input, item_output
from personakit.records import Context, ProfileItem, Query
from personakit.tasks.profile_prompt import ProfilePrompt, length_within

Kind = Literal["label", "ordinal", "generation"]


@dataclass(frozen=True)
class Task(ABC):
    """One task of a benchmark.

    `metrics` are the official metrics by their upstream names, `primary` is the main one, and
    `lower_is_better` applies to all of them. `labels` is empty for free text. `max_new_tokens` is enough for
    any answer. `gives_text` means that the query gives a text that a rewriter can take as its draft, and
    `rewrites_input` that it does so unless told otherwise.
    """

    name: str
    metrics: tuple[str, ...]
    primary: str
    max_new_tokens: int
    profile_prompt: ProfilePrompt
    labels: tuple[str, ...] = ()
    gives_text: bool = False
    rewrites_input: bool = False

    kind: ClassVar[Kind]
    lower_is_better: ClassVar[bool] = False

    def prompt(self, query: Query) -> str:
        """Return the zero-shot prompt: the input in the benchmark's template."""
        return query.text

    def prompt_with_context(
        self, query: Query, context: Context, *, count_tokens: Callable[[str], int], max_length: int
    ) -> str:
        """Return the prompt with context, as in LaMP's in-prompt augmentation.

        `count_tokens` is that of the model that reads the prompt; `max_length` is the token budget (LaMP:
        512). A summary and selected prompts, which LaMP does not have, precede it on their own lines and are
        never cut. With an empty context this is `prompt(query)`.
        """
        return self.prompt_and_context(query, context, count_tokens=count_tokens, max_length=max_length)[0]

    def prompt_and_context(
        self,
        query: Query,
        context: Context,
        *,
        count_tokens: Callable[[str], int],
        max_length: int,
        window: int | None = None,
    ) -> tuple[str, Context]:
        """Return the prompt as `prompt_with_context`, and the context without the items that did not fit.

        `window` is the most tokens that the model reads: items are left out or cut to fit it too.
        """
        if context.empty:
            return self.prompt(query), context
        preceding_lines = [*context.prompts, *([context.summary] if context.summary else [])]
        preceding = "".join(f"{line}\n" for line in preceding_lines)
        taken = count_tokens(preceding) if preceding else 0
        remaining = max_length - taken
        if window is not None and context.items:
            remaining = length_within(window - taken, remaining, count_tokens(query.text))
        filled, items = self.profile_prompt.fill_and_list(
            query.text, context.items, count_tokens=count_tokens, max_length=remaining
        )
        return preceding + filled, replace(context, items=items)

    def item_parts(self, item: ProfileItem) -> tuple[str | None, str]:
        """Return an item's input (None in LaMP-7) and the user's output for it."""
        return item_input(self.name, item), item_output(self.name, item)

    def score(self, predictions: Sequence[str], golds: Sequence[str]) -> dict[str, float]:
        """Return the official corpus metrics by their upstream names. Predictions are not parsed.

        Raises `ValueError` if there are no golds or the lengths differ.
        """
        if not golds or len(predictions) != len(golds):
            raise ValueError(f"{len(predictions)} predictions for {len(golds)} golds of {self.name}")
        return self._corpus_scores(predictions, golds)

    def figure(self, metrics: Mapping[str, float]) -> float:
        """Return the primary metric scaled to [0, 1], higher is better, for means over tasks."""
        return metrics[self.primary]

    @abstractmethod
    def parse(self, text: str) -> str | None:
        """Return the answer in a model's raw text, or None.

        Upstream scores raw text without parsing, so report the parsing together with the score.
        """

    @abstractmethod
    def reward(self, text: str, gold: str) -> float:
        """Return the RL reward of an unparsed answer, in [0, 1] (as in ROPG, arXiv 2404.05970)."""

    @abstractmethod
    def utility(self, prediction: str, gold: str) -> float:
        """Return the score of one sample in [0, 1], higher is better; its mean is the primary figure."""

    @abstractmethod
    def sample_scores(self, prediction: str, gold: str) -> dict[str, float]:
        """Return those metrics of one sample whose corpus value is a mean (for RMSE, of squared errors)."""

    @abstractmethod
    def unparsable(self, prediction: str) -> bool:
        """Return whether official scoring cannot read the prediction and applies its fallback rule."""

    @abstractmethod
    def valid_gold(self, gold: str) -> bool:
        """Return whether `gold` is a valid reference answer of the task."""

    @abstractmethod
    def _corpus_scores(self, predictions: Sequence[str], golds: Sequence[str]) -> dict[str, float]: ...


@dataclass(frozen=True, slots=True)
class TaskPlugin:
    """A task of an installed package (`plugins.py`): its file format, prompts and scoring.

    `format.task`, `format.file_task` and `task.name` must equal the entry point's name.
    """

    format: TaskFormat
    task: Task
