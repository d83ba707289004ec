"""Atomic writes: to a temporary name next to the target, then renamed."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from personakit.errors import UserError


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, and rename it to `path` if the block succeeds.

    A file that is replaced keeps its permissions; a new one is readable by all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(stat.S_IMODE(path.stat().st_mode) if path.is_file() else 0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `path`, and rename it to `path` if the block succeeds.

    If another process has created `path` in the meantime, that copy is kept: folder names are content
    hashes, so both copies are equal.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
    temporary.chmod(0o755)
    try:
        yield temporary
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_text(
    document: Any, *, indent: int | None = None, default: Callable[[Any], Any] | None = None
) -> str:
    """Return `document` as JSON; numbers that are not finite, which JSON has not, become null."""
    try:
        return json.dumps(document, ensure_ascii=False, indent=indent, default=default, allow_nan=False)
    except ValueError:
        finite = _with_nulls(document)
        return json.dumps(finite, ensure_ascii=False, indent=indent, default=default, allow_nan=False)


def _with_nulls(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _with_nulls(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_with_nulls(entry) for entry in value]
    return value


def write_json(path: Path, document: Any) -> None:
    """Write `document` as indented UTF-8 JSON, atomically."""
    write_text(path, json_text(document, indent=2) + "\n")


def cache_folder() -> Path:
    """Return the folder for converted data, generated benchmarks and cached completions.

    `$PERSONAKIT_CACHE`, else `$XDG_CACHE_HOME/personakit`, else `~/.cache/personakit`. Raises `UserError` if
    none of them is known.
    """
    chosen = os.environ.get("PERSONAKIT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base).expanduser() / "personakit"
    try:
        home = Path.home()
    except RuntimeError as error:  # no HOME, and no such user
        raise UserError(
            "there is no home folder for the cache: HOME is not set",
            hint="set PERSONAKIT_CACHE to a folder",
        ) from error
    return home / ".cache" / "personakit"
