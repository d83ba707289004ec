"""Measures generation time, including the original time of cached answers."""

from __future__ import annotations

from personakit.contracts import LanguageModel
from personakit.models.cache import CachedModel
from personakit.models.stopwatch import working_time


class GenerationTimer:
    """Seconds since construction, plus the original generation time of answers found in the cache.

    An evaluation that finds answers in the cache therefore reports the same time as the one that generated
    them.
    """

    def __init__(self, *models: LanguageModel) -> None:
        """Start the timer. `models` are the models that will be called."""
        self._models = [model for model in models if isinstance(model, CachedModel)]
        self._saved_at_start = self._total_saved()
        self._start = working_time()

    def seconds(self) -> float:
        """Return the seconds so far."""
        return working_time() - self._start + self._total_saved() - self._saved_at_start

    def _total_saved(self) -> float:
        return sum(model.seconds_saved for model in self._models)
