"""What the exports in JSON have in common: their file in a folder, and how they are read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from personakit.data.json_stream import unreadable
from personakit.data.json_text import loads
from personakit.errors import UserError

_START = 1 << 16


def json_file(source: Path, name: str) -> Path | None:
    """Return the file `name` of a folder, or the JSON file itself."""
    path = source / name if source.is_dir() else source
    return path if path.suffix.casefold() == ".json" and path.is_file() else None


def needed_file(source: Path, name: str) -> Path:
    """Return what `json_file` does. Raises `UserError` if there is no such file."""
    path = json_file(source, name)
    if path is None:
        raise UserError(
            f"{source} is no export in JSON, expected {name} or a folder with it", hint="remove --format"
        )
    return path


def begins_with(path: Path, pattern: bytes) -> bool:
    """Return whether a pattern is in the first 64 KB of a file."""
    with path.open("rb") as handle:
        return re.search(pattern, handle.read(_START)) is not None


def load(path: Path) -> Any:
    """Return the content of a JSON file. Raises `UserError` with the place where it is broken."""
    try:
        return loads(path.read_bytes())
    except OSError as error:
        raise unreadable(path, error) from error
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}, line {error.lineno}, column {error.colno}: not valid JSON ({error.msg})",
            hint="it may be cut off: export or copy it again",
        ) from error
