"""Opens models by name and keeps the last one in memory for the next call."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from personakit.config.endpoint import EndpointSettings
from personakit.contracts import LanguageModel

_Named = ParamSpec("_Named")
_Opened = TypeVar("_Opened")


def one_at_a_time(load: Callable[_Named, _Opened]) -> Callable[_Named, _Opened]:
    """Cache the last result of `load`.

    Unlike `lru_cache(1)`, this releases the cached object before the next one is loaded, because both may not
    fit in memory. Other references to it keep it alive.
    """
    cached: dict[Any, _Opened] = {}

    @functools.wraps(load)
    def opened(*args: _Named.args, **kwargs: _Named.kwargs) -> _Opened:
        key = (args, *sorted(kwargs.items()))
        if key not in cached:
            cached.clear()
            gc.collect()  # modules may have reference cycles
            cached[key] = load(*args, **kwargs)
        return cached[key]

    return opened


@one_at_a_time
def open_base(name: str, endpoint: EndpointSettings | None = None) -> LanguageModel:
    """Open a base model with the answer cache."""
    from personakit.models.cache import CachedModel
    from personakit.models.open import open_language_model

    return CachedModel(open_language_model(name, truncate=True, endpoint=endpoint))


@one_at_a_time
def open_weights(folder: Path) -> LanguageModel:
    """Open a model that was trained by a run."""
    from personakit.models.open import open_language_model

    return open_language_model(str(folder), truncate=True)
