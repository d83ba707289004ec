"""The official metrics of LaMP (eval/evaluation.py), computed with scikit-learn and rouge_score.

Upstream loads the same metrics through HF `evaluate`, which needs network access. There are two differences:
ROUGE is the plain mean over samples, while upstream takes the median of 1,000 unseeded bootstrap means
(within 5e-4 of it); and a rating of `nan` or `inf`, which upstream propagates to the result, counts as
unparsable.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rapidfuzz.distance import Levenshtein

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

_ROUGE = {"rouge-1": "rouge1", "rouge-L": "rougeL"}


def classification_scores(
    predictions: Sequence[str], golds: Sequence[str], labels: Sequence[str]
) -> dict[str, float]:
    """Return `accuracy` and macro `f1` (LaMP-1, 2).

    A prediction that is not a label counts as label -1, and so as wrong. A label that occurs in neither golds
    nor predictions contributes an F1 of 0.
    """
    from sklearn.metrics import accuracy_score, f1_score

    index_of = {label: index for index, label in enumerate(labels)}
    predicted_indices = [index_of.get(text.strip(), -1) for text in predictions]
    gold_indices = [index_of.get(text.strip(), -1) for text in golds]
    f1 = f1_score(
        gold_indices, predicted_indices, labels=range(len(labels)), average="macro", zero_division=0
    )
    return {"accuracy": float(accuracy_score(gold_indices, predicted_indices)), "f1": float(f1)}


def rating_scores(predictions: Sequence[str], golds: Sequence[str]) -> dict[str, float]:
    """Return `MAE` and `RMSE` of ratings (LaMP-3), neither clipped nor rounded."""
    from sklearn.metrics import mean_absolute_error, root_mean_squared_error

    gold_indices = [float(gold) for gold in golds]
    predicted_indices = [official_rating(text, gold) for text, gold in zip(predictions, golds, strict=True)]
    return {
        "MAE": float(mean_absolute_error(gold_indices, predicted_indices)),
        "RMSE": float(root_mean_squared_error(gold_indices, predicted_indices)),
    }


def generation_scores(
    predictions: Sequence[str], golds: Sequence[str], metrics: Sequence[str]
) -> dict[str, float]:
    """Return the mean over samples of each metric (LaMP-4 to 7, rewriting)."""
    pairs = list(zip(predictions, golds, strict=True))
    return {name: sum(text_metric(name, *pair) for pair in pairs) / len(pairs) for name in metrics}


def text_metric(name: str, prediction: str, gold: str) -> float:
    """Return one metric of one text in [0, 1].

    `rouge-1`, `rouge-L`: F1, without stemming, lower-cased `[a-z0-9]` words. `edit-similarity`: 1 - edit
    distance in characters / the longer length. `exact`: equality after `strip`.
    """
    prediction, gold = prediction.strip(), gold.strip()
    if name == "exact":
        return float(prediction == gold)
    if name == "edit-similarity":
        return Levenshtein.normalized_similarity(prediction, gold)
    return float(_rouge_scorer(_ROUGE[name]).score(gold, prediction)[_ROUGE[name]].fmeasure)


def mostly_ignored_by_rouge(text: str) -> bool:
    """Return whether ROUGE, which reads only `[a-z0-9]`, ignores more than half of a text's letters."""
    letters = [letter for letter in text.casefold() if letter.isalnum()]
    seen = sum(letter.isascii() for letter in letters)
    return bool(letters) and 2 * seen < len(letters)


def parse_rating(text: str) -> float | None:
    """Return the number that `text` represents, or None if it is not a finite number."""
    try:
        rating = float(text.strip())
    except ValueError:
        return None
    return rating if math.isfinite(rating) else None


def official_rating(prediction: str, gold: str) -> float:
    """Return the rating used by official scoring. If unparsable, it is the endpoint farther from the gold.

    Gold 1, 2, 3 -> 5.0; gold 4, 5 -> 1.0.
    """
    rating = parse_rating(prediction)
    if rating is not None:
        return rating
    target = float(gold)
    return 1.0 if abs(1.0 - target) > abs(5.0 - target) else 5.0


@functools.cache
def _rouge_scorer(kind: str) -> RougeScorer:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], tokenizer=_CachedTokenizer())


class _CachedTokenizer:
    """rouge_score's tokenizer with a cache, because a gold is compared with many samples."""

    @staticmethod
    @functools.lru_cache(maxsize=4096)
    def tokenize(text: str) -> list[str]:
        from rouge_score.tokenize import tokenize

        words: list[str] = tokenize(text, stemmer=None)
        return words
