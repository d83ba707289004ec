"""Opens models by name, keeping the last one in memory for the next call that asks for it."""

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
    """Keep what was opened last for calls that ask for it again; another one takes its place.

    Unlike with `lru_cache(1)` it is let go before the next is loaded: both may not fit into memory.
    Whoever still holds it keeps it there.
    """
    held: dict[Any, _Opened] = {}

    @functools.wraps(load)
    def opened(*args: _Named.args, **kwargs: _Named.kwargs) -> _Opened:
        key = (args, *sorted(kwargs.items()))
        if key not in held:
            held.clear()
            gc.collect()  # modules may point at each other, which counting references does not free
            held[key] = load(*args, **kwargs)
        return held[key]

    return opened


@one_at_a_time
def open_base(name: str, endpoint: EndpointSettings | None = None) -> LanguageModel:
    """Open a black box behind the answer cache: no answer of it is computed or paid for twice."""
    from personakit.models.cache import CachedModel
    from personakit.models.open import open_language_model

    return CachedModel(open_language_model(name, truncate=True, endpoint=endpoint))


@one_at_a_time
def open_weights(folder: Path) -> LanguageModel:
    """Open a model that a run has trained."""
    from personakit.models.open import open_language_model

    return open_language_model(str(folder), truncate=True)
