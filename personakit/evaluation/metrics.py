"""Metrics as functions of sums over samples, so that a bootstrap resample is one matrix product.

A mean needs (sum, count), RMSE the sum of squares, macro-F1 the counts of each label, content kept the counts
of facts. On the original sample the value equals the task's own `score` (LaMP's eval/evaluation.py), which a
test checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from personakit.errors import UserError
from personakit.tasks.style import STYLE

Floats = NDArray[np.float64]

#: The fraction of the generic answer's facts that a rewrite keeps.
CONTENT_KEPT = "content_kept"
#: A judge's verdict; missing for samples whose verdict could not be parsed.
JUDGE = "judge"


@dataclass(frozen=True, slots=True)
class Scored:
    """The texts and scores of one sample.

    `kept`: the number of facts of the generic answer that it keeps, and that the generic answer has
    (`content.py`).
    """

    prediction: str
    gold: str
    scores: Mapping[str, float]
    kept: tuple[int, int] = (0, 0)


class Metric(Protocol):
    """A metric as a function of sums over samples."""

    @property
    def width(self) -> int:
        """C, the number of sums kept."""
        ...

    def parts(self, samples: Sequence[Scored]) -> Floats:
        """Return what each sample adds to the sums, shape [samples, C]."""
        ...

    def finish(self, sums: Floats) -> Floats:
        """Return the metric for sums of shape [..., C]; nan for empty sums. The scale of sums must cancel."""
        ...

    def slopes(self, sums: Floats) -> Floats:
        """Return the metric's derivative by each sum, in the shape of `sums`; 0 where it is undefined."""
        ...


@dataclass(frozen=True, slots=True)
class Quotient:
    """A metric that is the quotient of two sums."""

    width: ClassVar[int] = 2

    def finish(self, sums: Floats) -> Floats:
        """Return the quotient."""
        return _divide(sums[..., 0], sums[..., 1], empty=np.nan)

    def slopes(self, sums: Floats) -> Floats:
        """Return the derivative of the quotient."""
        by_above = _divide(np.ones(sums.shape[:-1]), sums[..., 1], empty=0.0)
        return np.stack([by_above, -by_above * _divide(sums[..., 0], sums[..., 1], empty=0.0)], axis=-1)


@dataclass(frozen=True, slots=True)
class Mean(Quotient):
    """A mean over samples: accuracy, MAE, ROUGE. If `optional`, samples without the score are skipped."""

    name: str
    optional: bool = False

    def parts(self, samples: Sequence[Scored]) -> Floats:
        """Return [value, 1] for each sample, [0, 0] for one that is skipped."""
        rows = [
            (0.0, 0.0) if self.optional and self.name not in one.scores else (one.scores[self.name], 1.0)
            for one in samples
        ]
        return np.array(rows).reshape(-1, 2)


@dataclass(frozen=True, slots=True)
class RootMeanSquare(Quotient):
    """RMSE: the score of a single sample is its absolute error."""

    name: str

    def parts(self, samples: Sequence[Scored]) -> Floats:
        """Return [squared error, 1] for each sample."""
        return np.array([(sample.scores[self.name] ** 2, 1.0) for sample in samples]).reshape(-1, 2)

    def finish(self, sums: Floats) -> Floats:
        """Return the root of the mean square."""
        return np.sqrt(Quotient.finish(self, sums))

    def slopes(self, sums: Floats) -> Floats:
        """Return the derivative of the root."""
        return _divide(Quotient.slopes(self, sums), 2 * self.finish(sums)[..., None], empty=0.0)


@dataclass(frozen=True, slots=True)
class ContentKept(Quotient):
    """Facts kept over all facts: a ratio of sums, in which a sample without facts has no weight."""

    def parts(self, samples: Sequence[Scored]) -> Floats:
        """Return [facts kept, facts] for each sample."""
        return np.array([sample.kept for sample in samples], dtype=np.float64).reshape(-1, 2)


@dataclass(frozen=True, slots=True)
class MacroF1:
    """Macro-F1 over the whole list of labels; a label that never occurs contributes 0, as in LaMP."""

    labels: tuple[str, ...]

    @property
    def width(self) -> int:
        """Hits, predicted and gold, with one column per label each."""
        return 3 * len(self.labels)

    def parts(self, samples: Sequence[Scored]) -> Floats:
        """Return [hits, predicted, gold]; a prediction not in the list counts for no label."""
        place = {label: index for index, label in enumerate(self.labels)}
        counts = np.zeros((len(samples), 3, len(self.labels)))
        for row, sample in enumerate(samples):
            predicted, gold = place.get(sample.prediction.strip()), place.get(sample.gold.strip())
            if predicted is not None:
                counts[row, 1, predicted] = 1
            if gold is not None:
                counts[row, 2, gold] = 1
            if predicted is not None and predicted == gold:
                counts[row, 0, gold] = 1
        return counts.reshape(len(samples), self.width)

    def finish(self, sums: Floats) -> Floats:
        """Return the mean over labels of 2 hits / (predicted + gold)."""
        counts = sums.reshape(*sums.shape[:-1], 3, len(self.labels))
        hits, seen = counts[..., 0, :], counts[..., 1, :] + counts[..., 2, :]
        value = _divide(2 * hits, seen, empty=0.0).mean(axis=-1)
        return np.where(seen.sum(axis=-1) > 0, value, np.nan)

    def slopes(self, sums: Floats) -> Floats:
        """Return the derivative of each label's quotient."""
        counts = sums.reshape(*sums.shape[:-1], 3, len(self.labels))
        hits, seen = counts[..., 0, :], counts[..., 1, :] + counts[..., 2, :]
        by_hits = _divide(np.full_like(seen, 2 / len(self.labels)), seen, empty=0.0)
        by_seen = -_divide(by_hits * hits, seen, empty=0.0)
        return np.stack([by_hits, by_seen, by_seen], axis=-2).reshape(sums.shape)


def make_metric(name: str, *, labels: Sequence[str] = ()) -> Metric:
    """Return the metric `name`, as LaMP names it; any other name is a mean over samples."""
    if name == CONTENT_KEPT:
        return ContentKept()
    if name == "RMSE":
        return RootMeanSquare(name)
    if name in (JUDGE, STYLE):
        return Mean(name, optional=True)
    if name == "f1":
        if not labels:
            raise UserError(
                'metric "f1" on a task without labels, expected at least one label',
                hint="give the task labels, or remove f1 from its metrics",
            )
        return MacroF1(tuple(labels))
    return Mean(name)


def _divide(above: Floats, below: Floats, *, empty: float) -> Floats:
    result: Floats = np.divide(above, below, out=np.full(np.shape(above), empty), where=below > 0)
    return result
