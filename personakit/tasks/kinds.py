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
_DIGIT_OF = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}
_RATING = rf"(?<![\w.])([1-4](?:\.\d+)?|5(?:\.0+)?|{'|'.join(_DIGIT_OF)})(?!\w|[.,]\d)"
_DIGIT = re.compile(r"(?<![\w.])([1-5])(?!\w|\.\d)")
_SCALE = re.compile(
    r"\b(?:scale|range|score|rating|rate)?\s{0,3}(?:of|from|between)?\s{0,3}[(\[]?\b(?:1|one)\s*(?:-|–|—|to|and|through)\s*(?:5|five)\b"
    r"(?:\s*stars?)?[)\]]?|\b1, 2, 3, 4,? (?:or|and|to) 5\b",
    re.IGNORECASE,
)
_OF_FIVE = r"[*_]*\s*(?:/\s*5\b|(?:out\s+)?of\s+(?:5|five)\b|[- ]?stars?\b|★|⭐)"
_RATING_LABEL = (
    r"(?:(?:my|the|final|overall|predicted)\s+){0,3}(?:rating|score|answer|stars)\b"
    r"(?:[*_]{0,3}\s{1,3}is\b)?[\s*_:=\[(-]{0,9}"
)
#: A reply that begins with a rating: `4. The reviews ...`, `**Score: 4**`, `4 stars, because ...`.
_FIRST = re.compile(
    rf"[\s*_#\"'\[(]{{0,9}}(?:{_RATING_LABEL}{_RATING}|{_RATING}(?={_OF_FIVE})"
    rf"|([1-5]|{'|'.join(_DIGIT_OF)})(?=[*_\])\"']*(?:\s*(?:[.,:;!\n(](?!\d)|\Z)|\s+(?:[–—-]\s|(?:because|since|as)\b))))",
    re.IGNORECASE,
)
#: `1.` before `2.` is the number of a line.
_NUMBERED_LINES = re.compile(r"\s*1[.)]\s.*?\n[ \t]{0,9}2[.)]\s", re.DOTALL)
#: `... would be: **4** (since ...)`.
_BOLD = re.compile(rf"\*\*\s?(?:{_RATING_LABEL})?{_RATING}(?:{_OF_FIVE})?\s?\*\*", re.IGNORECASE)
#: `4/5`, `4 out of 5`, `4 stars`, `a 4-star review`; `Rating: 4`, `the score is 4`, `I would rate this a 4`,
#: but not `I would rate 2 others lower`.
_RATED = re.compile(
    rf"{_RATING}{_OF_FIVE}|\b(?:rat(?:e|ed|ing)|scored?|answer|give|gives|grade)\b[^\n.!?\d]{{0,60}}?{_RATING}"
    r"(?!\s+(?:(?:of|other|more)\b|(?!stars|points)[a-z]{3,}s\b))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class LabelTask(Task):
    """One label of a list. Matches are exact and case-sensitive after `strip`."""

    kind: ClassVar[Kind] = "label"

    def parse(self, text: str) -> str | None:
        """Return the label that the text is or names, in any case, else None.

        If several labels occur, the one that the text begins with (`comedy, because of the action`, `[1] is
        more relevant than [2]`), else the one that it concludes with (`the answer is [2]`, `Tag: comedy`),
        puts in bold, or has on a line of its own. If one label contains another (`dark comedy`, `comedy`),
        the longer one counts. A number stands for a label in brackets (`2` for `[2]`) where it is the whole
        text or such a beginning or conclusion.
        """
        if text.strip() in self.labels:
            return text.strip()
        found = {match[match.lastgroup or 0].casefold() for match in self._beginning.finditer(text.lstrip())}
        if len(found) != 1 or self._beginning.match(text.lstrip()) is None:
            found = {match.group().casefold() for match in self._any_label.finditer(text)}
        if len(found) != 1:
            concluded = [*self._conclusion.finditer(text), *self._alone.finditer(text)]
            found = {(match["bold"] or match["label"]).casefold() for match in concluded}
        if len(found) != 1:
            return None
        name = found.pop()
        return next(
            label for label in self.labels if name in (label.casefold(), label.strip("[]").casefold())
        )

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
        return re.compile(rf"(?<!\w)(?:{self._labels()})(?!\w)", re.IGNORECASE)

    @cached_property
    def _beginning(self) -> re.Pattern[str]:
        """A label before its reason, at the beginning of a line; before other labels it is one of a list."""
        label, bare = self._labels(), self._labels(bare=True)
        reason = r"(?:because|since|as|given|based|due|not|but|with|although|though|while|rather)\b"
        return re.compile(
            rf"^[ \t*_\"'`#(]{{0,9}}(?:(?P<label>{label})[*_\"'`)]{{0,9}}(?:[.!;](?=\s)|\s+[–—-]\s)"
            rf"(?!(?:\W{{0,9}}(?:(?:an?|or|and)\s)?(?:{bare})){{1,9}}\W{{0,9}}$)"
            rf"|(?P<short>{bare})[*_\"'`)]{{0,9}}(?:\s*[,(–—-]\s*|\s+){reason}"
            rf"|(?P<reference>{bare})[*_\"'`)]{{0,9}}\s+(?:is|seems|would\s+be)\s+(?:\w+ly\s+)?"
            r"(?:the|more|most|better|best|closer|closest|right|correct)\b)",
            re.IGNORECASE | re.MULTILINE,
        )

    @cached_property
    def _conclusion(self) -> re.Pattern[str]:
        label = self._labels(bare=True)
        # Bounded repetitions: a reply may be a long run of one character.
        return re.compile(
            rf"\b(?:answer|tag|category|genre|label|choice|option|reference)\b(?:\W{{1,20}}(?:is|be|would|for|the"
            rf"|this|movie|article|paper|number)\b){{0,9}}\W{{0,20}}?(?<=[\s:*\"'(])(?P<label>{label})(?!\w)"
            rf"|\*\*[^\w*]{{0,9}}?(?P<bold>{label})[^\w*]{{0,9}}\*\*",
            re.IGNORECASE,
        )

    @cached_property
    def _alone(self) -> re.Pattern[str]:
        label = self._labels(bare=True)
        return re.compile(
            rf"^[^\w\[\n]*(?P<label>{label})(?P<bold>(?!))?[^\w\n]*$", re.IGNORECASE | re.MULTILINE
        )

    def _labels(self, *, bare: bool = False) -> str:
        """Return an alternation of the labels, longest first; with `bare` also without their brackets."""
        names = {*self.labels, *(label.strip("[]") for label in self.labels if bare)}
        return "|".join(map(re.escape, sorted(names, key=lambda name: (-len(name), name))))


@dataclass(frozen=True)
class OrdinalTask(Task):
    """A rating from 1 to 5 (LaMP-3)."""

    kind: ClassVar[Kind] = "ordinal"
    lower_is_better: ClassVar[bool] = True

    def figure(self, metrics: Mapping[str, float]) -> float:
        """Return 1 - MAE / 4."""
        return 1.0 - metrics[self.primary] / (MAX_RATING - MIN_RATING)

    def parse(self, text: str) -> str | None:
        """Return the rating from 1 to 5 that the text gives (`4` in `[4]`, `4/5` or `four stars`), or None.

        A mention of the scale (`on a scale of 1 to 5`, `out of 5`) is no rating. If there are several
        numbers, the one that the text begins with counts, else the one in bold, else the first one of `4/5`
        or `4 stars` or after `rating`, `score`, `rate it`, else the first.
        """
        text = _SCALE.sub(" ", text)
        numbered = _NUMBERED_LINES.match(text)
        first = None if numbered else _FIRST.match(text)
        found = first or _BOLD.search(text) or _RATED.search(text) or _DIGIT.search(text)
        if found is not None:
            rating: str = next(filter(None, found.groups()))
            return _DIGIT_OF.get(rating.casefold(), rating)
        return _DIGIT_OF.get(text.strip(" \t\n.!*_\"'").casefold())

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
