"""Missing values: one rule for all readers and file types.

A value is missing if it is null, NaN or NaT, or the text that pandas and spreadsheets write for one. A blank
CSV cell is missing, too. A missing value becomes None, never the text "nan"; the readers count it.
"""

from __future__ import annotations

import math
from typing import Any

_TEXTS = frozenset({"nan", "NaN", "NaT", "<NA>"})
# In CSV a null is a text. pandas.read_csv has these by default, too, and more that may be words ("NA").
_CSV_TEXTS = _TEXTS | {"None", "NULL", "null", "#N/A", "#NV"}


def without_missing(value: Any) -> Any:
    """Return a value from JSON or Parquet with everything missing in it as None."""
    if isinstance(value, str):
        return None if value in _TEXTS else value
    if isinstance(value, dict):
        return {key: without_missing(element) for key, element in value.items()}
    if isinstance(value, list):
        return [without_missing(element) for element in value]
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return None if str(value) == "NaT" else value


def csv_value(cell: str) -> str | None:
    """Return a CSV cell, or None if it is missing."""
    text = cell.strip()
    return None if not text or text in _CSV_TEXTS else cell


def is_missing(value: Any) -> bool:
    """Return whether a field that needs a text has none: a missing value, or a blank text."""
    return value is None or (isinstance(value, str) and not value.strip())
