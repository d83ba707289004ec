"""Builds small sample logs for the statistics tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from personakit.evaluation.measurements import Measurements, TaskMetrics
from personakit.evaluation.samples import Sample

ACCURACY = TaskMetrics(("accuracy",), labels=("a", "b"))
RATING = TaskMetrics(("MAE", "RMSE"), lower_is_better=True, offset=1, slope=-0.25)
LABELS = TaskMetrics(("accuracy", "f1"), labels=("a", "b", "c", "d"))


def sample(
    method: str,
    task: str,
    query: int | str,
    *,
    user: str | None = None,
    seed: int | None = None,
    error: str | None = None,
    prediction: str = "",
    gold: str = "",
    **scores: float,
) -> Sample:
    """Return one sample; by default each query has its own user."""
    return Sample(
        method=method,
        seed=seed,
        task=task,
        query_id=str(query),
        user_id=user or f"{task}-u{query}",
        profile_of=None,
        profile_items=0,
        query="",
        gold=gold,
        generic=None,
        prediction=prediction,
        scores=None if error else scores,
        utility=None,
        context={"items": [], "summary": None, "prompts": []},
        error=error,
    )


def accuracies(
    values: Mapping[tuple[str, str, int | None], Iterable[float]], facts: TaskMetrics = ACCURACY
) -> Measurements:
    """Measurements from {(method, task, seed): accuracy of each user}."""
    samples = [
        sample(method, task, place, seed=seed, accuracy=float(value))
        for (method, task, seed), some in values.items()
        for place, value in enumerate(some)
    ]
    return Measurements(samples, {task: facts for _, task, _ in values})
