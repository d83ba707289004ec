"""Parses JSON as other programs write it: with a byte order mark, and with Python's NaN."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

BOM = b"\xef\xbb\xbf"
_CONSTANT = re.compile(rb"\b(?:NaN|Infinity)\b")


def loads(data: bytes) -> Any:
    """Return the value of a JSON text in UTF-8. NaN becomes None.

    Raises `json.JSONDecodeError` if it is not JSON, not UTF-8, or holds half a surrogate pair.
    """
    data = data.removeprefix(BOM)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        if not _CONSTANT.search(data):
            raise
        try:
            value = json.loads(data, parse_constant=constant)
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair cannot be stored
        except (UnicodeError, RecursionError):
            pass
        else:
            return value
        raise


def constant(name: str) -> float | None:
    """Return the value of a number that JSON does not have: None for NaN, else an infinite one."""
    return None if name == "NaN" else float(name)
