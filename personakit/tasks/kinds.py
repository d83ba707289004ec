"""The three kinds of tasks: label, rating, free text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from personakit.tasks.base import Kind, Task
from personakit.tasks.scoring import (
    classification_scores,
    generation_scores,
    official_rating,
    parse_rating,
    rating_scores,
    text_metric,
)

#: LaMP-3's rating scale. Its range is the largest possible error.
MIN_RATING, MAX_RATING = 1.0, 5.0


@dataclass(frozen=True)
class LabelTask(Task):
    """One label of a list. Matches are exact and case-sensitive after `strip`."""

    kind: ClassVar[Kind] = "label"

    def parse(self, text: str) -> str | None:
        """Return the exact label, else the only label that occurs in the text (in any case), else None.

        If one label contains another (`dark comedy`, `comedy`), the longer one counts.
        """
        if text.strip() in self.labels:
            return text.strip()
        found = {match.group().casefold() for match in self._any_label.finditer(text)}
        return next(label for label in self.labels if label.casefold() in found) if len(found) == 1 else None

    def reward(self, text: str, gold: str) -> float:
        """Return 1 for the exact label, else 0."""
        return self.utility(text, gold)

    def utility(self, prediction: str, gold: str) -> float:
        """Return 1 for the exact label, else 0."""
        return float(prediction.strip() == gold.strip() and prediction.strip() in self.labels)

    def sample_scores(self, prediction: str, gold: str) -> dict[str, float]:
        """Return the accuracy. F1 is not defined for one sample."""
        return {"accuracy": self.utility(prediction, gold)}

    def unparsable(self, prediction: str) -> bool:
        """Return whether the prediction is not a label. It then counts as wrong."""
        return prediction.strip() not in self.labels

    def valid_gold(self, gold: str) -> bool:
        """Return whether `gold` is one of the labels."""
        return gold.strip() in self.labels

    def _corpus_scores(self, predictions: Sequence[str], golds: Sequence[str]) -> dict[str, float]:
        return classification_scores(predictions, golds, self.labels)

    @cached_property
    def _any_label(self) -> re.Pattern[str]:
        longest_first = sorted(self.labels, key=len, reverse=True)
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)


@dataclass(frozen=True)
class OrdinalTask(Task):
    """A rating from 1 to 5 (LaMP-3)."""

    kind: ClassVar[Kind] = "ordinal"
    lower_is_better: ClassVar[bool] = True

    def figure(self, metrics: Mapping[str, float]) -> float:
        """Return 1 - MAE / 4."""
        return 1.0 - metrics[self.primary] / (MAX_RATING - MIN_RATING)

    def parse(self, text: str) -> str | None:
        """Return the first separate digit from 1 to 5 in the text (`4` in `[4]`), or None."""
        found = re.search(r"(?<![\w.])[1-5](?!\w|\.\d)", text)
        return found.group() if found else None

    def reward(self, text: str, gold: str) -> float:
        """Return (W - |error|) / W, where W is the largest possible error for this gold; 0 if unparsable."""
        rating, target = parse_rating(text), float(gold)
        if rating is None:
            return 0.0
        max_error = max(target - MIN_RATING, MAX_RATING - target)
        return max(0.0, (max_error - abs(rating - target)) / max_error)

    def utility(self, prediction: str, gold: str) -> float:
        """Return 1 - |error| / 4. For an unparsable prediction, LaMP's fallback rule applies.

        The value is clipped at 0, which only affects ratings outside 1 to 5. The official MAE does not clip.
        """
        return max(0.0, 1.0 - self._error(prediction, gold) / (MAX_RATING - MIN_RATING))

    def sample_scores(self, prediction: str, gold: str) -> dict[str, float]:
        """Return the absolute error, which is both the MAE and the RMSE of one sample."""
        error = self._error(prediction, gold)
        return {"MAE": error, "RMSE": error}

    def unparsable(self, prediction: str) -> bool:
        """Return whether the prediction is not a finite number. LaMP then takes the farther endpoint."""
        return parse_rating(prediction) is None

    def valid_gold(self, gold: str) -> bool:
        """Return whether `gold` is a number from 1 to 5."""
        rating = parse_rating(gold)
        return rating is not None and MIN_RATING <= rating <= MAX_RATING

    def _error(self, prediction: str, gold: str) -> float:
        return abs(official_rating(prediction, gold) - float(gold))

    def _corpus_scores(self, predictions: Sequence[str], golds: Sequence[str]) -> dict[str, float]:
        return rating_scores(predictions, golds)


@dataclass(frozen=True)
class GenerationTask(Task):
    """A free text, compared with the user's own.

    `one_line` means that an answer is a single line (true for a title, not for a tweet). The reward is the
    mean of `reward_metrics`.
    """

    one_line: bool = True
    reward_metrics: tuple[str, ...] = ("rouge-1",)

    kind: ClassVar[Kind] = "generation"

    def parse(self, text: str) -> str | None:
        """Return the first non-empty line, or the whole text if answers may have several lines."""
        answer = text.strip()
        return (answer.splitlines()[0].strip() if self.one_line and answer else answer) or None

    def reward(self, text: str, gold: str) -> float:
        """Return the mean of the reward metrics."""
        return sum(text_metric(name, text, gold) for name in self.reward_metrics) / len(self.reward_metrics)

    def utility(self, prediction: str, gold: str) -> float:
        """Return the primary metric of this sample."""
        return text_metric(self.primary, prediction, gold)

    def sample_scores(self, prediction: str, gold: str) -> dict[str, float]:
        """Return every metric of this sample."""
        return generation_scores([prediction], [gold], self.metrics)

    def unparsable(self, prediction: str) -> bool:
        """Return whether the prediction is empty."""
        return not prediction.strip()

    def valid_gold(self, gold: str) -> bool:
        """Return True: any text may be a reference, even without words that ROUGE recognises."""
        return True

    def _corpus_scores(self, predictions: Sequence[str], golds: Sequence[str]) -> dict[str, float]:
        return generation_scores(predictions, golds, self.metrics)
