"""Reads a file of queries with their profiles, one JSON object per line."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from personakit.data.lookup import ProfileLookup
from personakit.errors import UserError
from personakit.records import Profile, Query

_FORM = 'a line is {"id": "1", "query": "..."}, optionally with "user", "profile" or "task"'


def read_batch(path: Path, lookup: ProfileLookup, task: str | None) -> list[tuple[Query, Profile]]:
    """Read and validate all lines of a file (`-`: stdin). Raises `UserError` for the first invalid line."""
    batch: dict[str, tuple[Query, Profile]] = {}
    place = "stdin" if str(path) == "-" else str(path)
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{place}, line {number}"
        raw = _parse(line, where)
        id = str(raw.get("id", number))
        if id in batch:
            raise UserError(
                f'{where}: "id" is "{id}", as on an earlier line', hint="give each line its own id"
            )
        profile = _own_profile(raw.get("profile"), where)
        try:
            batch[id] = lookup.find(
                raw["query"], raw.get("task", task), id=id, user=raw.get("user"), profile=profile
            )
        except UserError as error:
            raise type(error)(f"{where}: {error.message}", hint=error.hint) from error
    if not batch:
        raise UserError(f"{place} holds no queries, expected at least one", hint=_FORM)
    return list(batch.values())


def _lines(path: Path) -> list[str]:
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist, expected a JSONL file", hint=_FORM) from error
    try:
        return data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: not UTF-8", hint="save the file as UTF-8 text") from error


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        raw = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}, column {error.colno}: not valid JSON ({error.msg})", hint=_FORM) from error
    if not isinstance(raw, dict):
        raise UserError(f"{where}: {line[:40]!r} is not a JSON object", hint=_FORM)
    unknown = raw.keys() - {"id", "query", "user", "profile", "task"}
    if unknown:
        raise UserError(f'{where}: unknown field "{min(unknown)}"', hint=_FORM)
    for key in ("query", "user", "task"):
        if not isinstance(raw.get(key, "" if key != "query" else None), str):
            found = json.dumps(raw[key]) if key in raw else "missing"
            raise UserError(f'{where}: "{key}" is {found}, expected a text', hint=_FORM)
    return raw


def _own_profile(given: Any, where: str) -> Path | Sequence[dict[str, Any]] | None:
    if given is None or isinstance(given, list):
        return given
    if isinstance(given, str):
        return Path(given)
    raise UserError(f'{where}: "profile" is {json.dumps(given)[:40]}, expected a file or a list', hint=_FORM)
