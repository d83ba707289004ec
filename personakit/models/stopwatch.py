"""The time that answers take. Loading a model, which may happen at its first answer, is no part of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

_loading = 0.0


def working_time() -> float:
    """Return a time in seconds that stands still while a model is `loading`; for differences only."""
    return time.perf_counter() - _loading


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Leave the time of this block out of `working_time`."""
    global _loading
    began = working_time()
    try:
        yield
    finally:
        _loading += working_time() - began
