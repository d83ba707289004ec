"""Reads a file of queries with their profiles: one JSON object per line, or a JSON list of them.

A line that is no query is an error before anything is answered. A query whose text is damaged (bytes that are
not UTF-8, half of a surrogate pair) is reported with its line, and the others are answered.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from personakit.data.lookup import ProfileLookup
from personakit.data.standard_input import read_stdin
from personakit.data.utf8 import utf8
from personakit.errors import UserError
from personakit.records import Profile, Query

_SURROGATE = re.compile("[\ud800-\udfff]")
_FORM = 'a line is {"id": "1", "query": "..."}, optionally with "user", "profile", "task" or "final"'


class BatchRow(NamedTuple):
    """A query with its profile, or the `problem` for which it has no answer.

    `final` is what the user made of an answer, which is learned into the line's own profile file `source`,
    if it has one.
    """

    query: Query
    profile: Profile
    problem: str | None = None
    final: str | None = None
    source: Path | None = None


def read_batch(path: Path, lookup: ProfileLookup, task: str | None) -> list[BatchRow]:
    """Read and validate all lines of a file (`-`: stdin).

    Raises `UserError` for the first invalid line, and where the text of every line is damaged.
    """
    batch: dict[str, BatchRow] = {}
    place = "stdin" if str(path) == "-" else str(path)
    for number, where, line in _lines(path, place):
        text, problem = _decoded(line, where)
        raw = _parse(text, where)
        if problem is None and (field := _field_with_surrogate(raw)) is not None:
            problem = f'{where}: "{field}" has half of a surrogate pair, expected text'
            raw = json.loads(_SURROGATE.sub("\ufffd", json.dumps(raw, ensure_ascii=False)))
        id = str(raw.get("id", number))
        if id in batch:
            raise UserError(
                f'{where}: "id" is "{id}", as on an earlier line', hint="give each line its own id"
            )
        profile = _own_profile(raw.get("profile"), where)
        try:
            found = lookup.find(
                raw["query"], raw.get("task", task), id=id, user=raw.get("user"), profile=profile
            )
            source = profile if isinstance(profile, Path) else None
            batch[id] = BatchRow(*found, problem, _final(raw, where), source)
        except UserError as error:
            raise type(error)(f"{where}: {error.message}", hint=error.hint) from error
    if not batch:
        raise UserError(f"{place} holds no queries, expected at least one", hint=_FORM)
    rows = list(batch.values())
    if all(row.problem is not None for row in rows):
        raise UserError(f"{rows[0].problem}; no line is readable", hint="save the file as UTF-8 text")
    return rows


def _lines(path: Path, place: str) -> Iterator[tuple[int, str, bytes]]:
    """Yield number, place and JSON of each query: a line of JSONL, or an item of a JSON list."""
    try:
        data = read_stdin("queries") if str(path) == "-" else path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist, expected a JSONL file", hint=_FORM) from error
    handle = utf8(io.BytesIO(data), place)
    if (text := handle.read()).lstrip().startswith(b"["):
        try:
            items = json.loads(text)
        except ValueError as error:
            raise UserError(f"{place}: not a valid JSON list ({error})", hint=_FORM) from error
        for number, item in enumerate(items, start=1):
            yield number, f"{place}, item {number}", json.dumps(item).encode()
        return
    for number, line in enumerate(text.split(b"\n"), start=1):
        if line.strip():
            yield number, f"{place}, line {number}", line


def _decoded(line: bytes, where: str) -> tuple[str, str | None]:
    """Return a line's text, and what is wrong with its bytes."""
    try:
        return line.decode(), None
    except UnicodeDecodeError as error:
        problem = f"{where}, byte {error.start + 1}: 0x{line[error.start]:02x} is not UTF-8, expected text"
        return line.decode(errors="replace"), problem


def _field_with_surrogate(raw: dict[str, Any]) -> str | None:
    damaged = (
        name for name, value in raw.items() if _SURROGATE.search(json.dumps(value, ensure_ascii=False))
    )
    return next(damaged, None)


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        raw = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}, column {error.colno}: not valid JSON ({error.msg})", hint=_FORM) from error
    if not isinstance(raw, dict):
        raise UserError(f"{where}: {line[:40]!r} is not a JSON object", hint=_FORM)
    unknown = raw.keys() - {"id", "query", "user", "profile", "task", "final"}
    if unknown:
        raise UserError(f'{where}: unknown field "{min(unknown)}"', hint=_FORM)
    for key in ("query", "user", "task", "final"):
        if not isinstance(raw.get(key, "" if key != "query" else None), str):
            found = json.dumps(raw[key]) if key in raw else "missing"
            raise UserError(f'{where}: "{key}" is {found}, expected a text', hint=_FORM)
    return raw


def _final(raw: dict[str, Any], where: str) -> str | None:
    final: str | None = raw.get("final")
    if final is None:
        return None
    if not final.strip():
        raise UserError(f'{where}: "final" is empty, expected the text that was sent', hint="leave it out")
    if isinstance(raw.get("profile"), list) or "user" in raw:
        raise UserError(
            f'{where}: "final" is added to a profile file, and the line names '
            f"{'a user of the data' if 'user' in raw else 'a list'}",
            hint='give the file as "profile", or with --profile',
        )
    return final


def _own_profile(given: Any, where: str) -> Path | Sequence[dict[str, Any]] | None:
    if given is None or isinstance(given, list):
        return given
    if isinstance(given, str):
        return Path(given)
    raise UserError(f'{where}: "profile" is {json.dumps(given)[:40]}, expected a file or a list', hint=_FORM)
