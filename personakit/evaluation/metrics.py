"""How a metric is rebuilt from sums over samples, so that a resample costs one matrix product.

Every metric here is a function of sums over samples: a mean needs (sum, count), RMSE the sum of
squares, macro-F1 the counts of each label, content kept those of facts. A bootstrap then reweighs
users, adds up, and finishes. The value on the unresampled data equals the task's own `score` (LaMP's
eval/evaluation.py); a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from personakit.errors import UserError

Floats = NDArray[np.float64]

#: The measure beside the metrics that tells what rewriting keeps of the generic answer.
CONTENT_KEPT = "content_kept"
#: A judge's verdict, which a sample lacks where the judge's words could not be read.
JUDGE = "judge"


@dataclass(frozen=True, slots=True)
class Scored:
    """What statistics need to know of one sample: its texts and the metrics of it alone.

    `kept`: how many facts of its generic answer it keeps, and how many that has (`content.py`).
    """

    prediction: str
    gold: str
    scores: Mapping[str, float]
    kept: tuple[int, int] = (0, 0)


class Metric(Protocol):
    """A metric as sums over samples."""

    @property
    def width(self) -> int:
        """C, the number of sums kept."""
        ...

    def parts(self, samples: Sequence[Scored]) -> Floats:
        """Return what each sample adds to the sums, shape [samples, C]."""
        ...

    def finish(self, sums: Floats) -> Floats:
        """Return the metric of sums of shape [..., C]; nan where nothing was summed.

        Twice the sums must give the same metric.
        """
        ...

    def slopes(self, sums: Floats) -> Floats:
        """Return the metric's derivative by each sum, of the shape of `sums`; 0 where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Mean:
    """A plain mean over samples: accuracy, MAE, ROUGE."""

    name: str
    width: int = 2

    def parts(self, samples: Sequence[Scored]) -> Floats:
        """Return [value, 1] for each sample."""
        return np.array([(sample.scores[self.name], 1.0) for sample in samples]).reshape(-1, 2)

    def finish(self, sums: Floats) -> Floats:
        """Divide the sum by the count."""
        return _divide(sums[..., 0], sums[..., 1], empty=np.nan)

    def slopes(self, sums: Floats) -> Floats:
        """Derivative of a quotient."""
        return _slopes_of_quotient(sums)


@dataclass(frozen=True, slots=True)
class MeanOfSome:
    """A mean over the samples that have the score; the others weigh nothing."""

    name: str
    width: int = 2

    def parts(self, samples: Sequence[Scored]) -> Floats:
        """Return [value, 1] for each sample, [0, 0] where there is no value."""
        rows = [(s.scores[self.name], 1.0) if self.name in s.scores else (0.0, 0.0) for s in samples]
        return np.array(rows).reshape(-1, 2)

    def finish(self, sums: Floats) -> Floats:
        """Divide the sum by the count."""
        return _divide(sums[..., 0], sums[..., 1], empty=np.nan)

    def slopes(self, sums: Floats) -> Floats:
        """Derivative of a quotient."""
        return _slopes_of_quotient(sums)


@dataclass(frozen=True, slots=True)
class RootMeanSquare:
    """RMSE: the score of one sample alone is its absolute error."""

    name: str
    width: int = 2

    def parts(self, samples: Sequence[Scored]) -> Floats:
        """Return [error squared, 1] for each sample."""
        return np.array([(sample.scores[self.name] ** 2, 1.0) for sample in samples]).reshape(-1, 2)

    def finish(self, sums: Floats) -> Floats:
        """Root of the mean square."""
        return np.sqrt(_divide(sums[..., 0], sums[..., 1], empty=np.nan))

    def slopes(self, sums: Floats) -> Floats:
        """Derivative of the root of a quotient."""
        return _divide(_slopes_of_quotient(sums), 2 * self.finish(sums)[..., None], empty=0.0)


@dataclass(frozen=True, slots=True)
class ContentKept:
    """Facts kept over facts there were: a ratio of sums, so a sample without facts weighs nothing."""

    width: int = 2

    def parts(self, samples: Sequence[Scored]) -> Floats:
        """Return [kept, there] for each sample."""
        return np.array([sample.kept for sample in samples], dtype=np.float64).reshape(-1, 2)

    def finish(self, sums: Floats) -> Floats:
        """Divide the kept by all."""
        return _divide(sums[..., 0], sums[..., 1], empty=np.nan)

    def slopes(self, sums: Floats) -> Floats:
        """Derivative of a quotient."""
        return _slopes_of_quotient(sums)


@dataclass(frozen=True, slots=True)
class MacroF1:
    """Macro-F1 over the whole label list; a label absent from both sides contributes 0 (LaMP)."""

    labels: tuple[str, ...]

    @property
    def width(self) -> int:
        """Hits, predicted and gold, each one column a label."""
        return 3 * len(self.labels)

    def parts(self, samples: Sequence[Scored]) -> Floats:
        """Return [hits, predicted, gold]; a prediction outside the list counts for no label."""
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
        """Mean over labels of 2 hits / (predicted + gold)."""
        counts = sums.reshape(*sums.shape[:-1], 3, len(self.labels))
        hits, seen = counts[..., 0, :], counts[..., 1, :] + counts[..., 2, :]
        value = _divide(2 * hits, seen, empty=0.0).mean(axis=-1)
        return np.where(seen.sum(axis=-1) > 0, value, np.nan)

    def slopes(self, sums: Floats) -> Floats:
        """Derivative of each label's quotient."""
        counts = sums.reshape(*sums.shape[:-1], 3, len(self.labels))
        hits, seen = counts[..., 0, :], counts[..., 1, :] + counts[..., 2, :]
        by_hits = _divide(np.full_like(seen, 2 / len(self.labels)), seen, empty=0.0)
        by_seen = -_divide(by_hits * hits, seen, empty=0.0)
        return np.stack([by_hits, by_seen, by_seen], axis=-2).reshape(sums.shape)


def make_metric(name: str, *, labels: Sequence[str] = ()) -> Metric:
    """Return the metric called `name` in LaMP's words; any other name is a mean over samples."""
    if name == CONTENT_KEPT:
        return ContentKept()
    if name == "RMSE":
        return RootMeanSquare(name)
    if name == JUDGE:
        return MeanOfSome(name)
    if name == "f1":
        if not labels:
            raise UserError(
                'metric "f1" was asked for on a task without a label list, expected at least one label',
                hint="give the task its labels, or leave f1 out of its metrics",
            )
        return MacroF1(tuple(labels))
    return Mean(name)


def _divide(above: Floats, below: Floats, *, empty: float) -> Floats:
    result: Floats = np.divide(above, below, out=np.full(np.shape(above), empty), where=below > 0)
    return result


def _slopes_of_quotient(sums: Floats) -> Floats:
    by_above = _divide(np.ones(sums.shape[:-1]), sums[..., 1], empty=0.0)
    return np.stack([by_above, -by_above * _divide(sums[..., 0], sums[..., 1], empty=0.0)], axis=-1)
