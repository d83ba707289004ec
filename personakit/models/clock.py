"""How long answers took, what the answer cache held included."""

from __future__ import annotations

import time

from personakit.contracts import LanguageModel
from personakit.models.cache import CachedModel


class Clock:
    """Seconds since construction, and those that the models' cached answers had taken when they were made.

    So an evaluation that finds the generic answers in the cache says what they cost, as the one that asked.
    """

    def __init__(self, *models: LanguageModel) -> None:
        """Start; `models` are those that are about to be asked."""
        self._models = [model for model in models if isinstance(model, CachedModel)]
        self._saved = self._saved_by_now()
        self._began = time.perf_counter()

    def seconds(self) -> float:
        """Return the seconds until now."""
        return time.perf_counter() - self._began + self._saved_by_now() - self._saved

    def _saved_by_now(self) -> float:
        return sum(model.seconds_saved for model in self._models)
