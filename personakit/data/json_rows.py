"""Reads the rows of JSON in all its layouts: one object per line, a list, or a list in an object.

The content decides, not the file name: lists occur in `.jsonl` files, and lines in `.json` files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from personakit.data.json_stream import ListReader
from personakit.data.json_text import loads
from personakit.data.skips import SkipCounts
from personakit.data.utf8 import not_utf8
from personakit.errors import UserError

WRAPPERS = ("data", "rows", "examples", "records", "items", "train", "dataset")
"""Names of a list of rows in an object."""
CONVERSATIONS = ("messages", "conversations", "conversation")
"""Columns with a list of messages: OpenAI's and TRL's name, and ShareGPT's."""
_HINT = "JSONL has one complete JSON object per line"


def json_rows(handle: BinaryIO, path: Path, counts: SkipCounts) -> Iterator[tuple[str, Any]]:
    """Yield place and value of every row of a UTF-8 file: `FILE, line 3`, or `FILE, item 3` of a list.

    Raises `UserError` with the place for what is not JSON; the caller validates that rows are objects.
    """
    start = handle.tell()
    first = _first_byte(handle)
    handle.seek(start)
    if first == b"[" or (first != b"{" and path.suffix.casefold() == ".json"):
        with ListReader(path, handle=handle) as reader:
            while reader.more():
                yield f"{path}, item {reader.number + 1}", reader.element()
        return
    lines = ((number, line) for number, line in enumerate(handle, start=1) if line.strip())
    number, line = next(lines, (0, b""))
    if not number:
        return
    try:
        value = parse(line, f"{path}, line {number}")
    except UserError as error:
        rest = handle.read()
        if not rest.strip():
            raise
        try:
            value = loads(line + rest)
        except json.JSONDecodeError as whole:
            if path.suffix.casefold() == ".json":
                raise UserError(
                    f"{path}, line {whole.lineno}, column {whole.colno}: not valid JSON ({whole.msg})",
                    hint="check the file with `python -m json.tool FILE`",
                ) from whole
            raise error from error.__cause__
        yield from _rows_of_object(value, path, counts)
        return
    following = next(lines, None)
    if following is None:
        yield from _rows_of_object(value, path, counts)
        return
    yield f"{path}, line {number}", value
    yield f"{path}, line {following[0]}", parse(following[1], f"{path}, line {following[0]}")
    for number, line in lines:
        yield f"{path}, line {number}", parse(line, f"{path}, line {number}")


def parse(line: bytes, place: str, hint: str = _HINT) -> Any:
    """Return the JSON value of one line. Raises `UserError` with `place` and column."""
    try:
        return loads(line)
    except json.JSONDecodeError as error:
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as encoding:
            raise not_utf8(place, line[encoding.start]) from error
        if "surrogate" in error.msg:
            raise UserError(
                f"{place}, column {error.colno}: a \\uD800-\\uDFFF escape stands alone, "
                "expected a whole surrogate pair",
                hint="half a character cannot be stored as UTF-8: remove the escape",
            ) from error
        raise UserError(f"{place}, column {error.colno}: not valid JSON ({error.msg})", hint=hint) from error


def _first_byte(handle: BinaryIO) -> bytes:
    while chunk := handle.read(1 << 16):
        if chunk := chunk.lstrip():
            return chunk[:1]
    return b""


def _rows_of_object(value: Any, path: Path, counts: SkipCounts) -> Iterator[tuple[str, Any]]:
    """Yield the rows of a file that holds a single value: those of its list, or the object as one row."""
    place = f"{path}, line 1"
    lists = [name for name, element in value.items() if _is_rows(element)] if isinstance(value, dict) else []
    wrappers = [name for name in WRAPPERS if name in lists]
    if len(wrappers) == 1:
        (name,) = wrappers
        for key in value.keys() - {name}:
            counts.add(f'values beside "{name}" other than rows', f'{place}: "{key}"')
        for number, element in enumerate(value[name], start=1):
            if isinstance(fields := element.get("fields"), dict):  # an item of `users export`
                element = {key: element[key] for key in element.keys() - {"fields"}} | fields
            yield f'{path}, "{name}" item {number}', element
        return
    if len(wrappers) > 1 or (len(lists) == 1 == len(value) and lists[0] not in CONVERSATIONS):
        raise UserError(
            f"{path} holds an object with the lists {', '.join(lists)}, expected one list of rows",
            hint="save the list to be read as a file of its own",
        )
    if isinstance(value, dict) and _is_frame(value):
        raise UserError(
            f"{path} holds a table by columns ({', '.join(value):.60}), expected rows",
            hint='write it with pandas as to_json(FILE, orient="records")',
        )
    yield place, value


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(element, dict) for element in value)


def _is_frame(value: dict[str, Any]) -> bool:
    """Whether an object is a table as pandas writes it by default, or with orient="index" or "split"."""
    if {"columns", "data"} <= value.keys():
        return True
    parts = list(value.values())
    return (
        "chosen" not in value  # whose messages are objects with the same keys
        and len(parts) > 0
        and all(isinstance(part, dict) and part and part.keys() == parts[0].keys() for part in parts)
        and len(parts) * len(parts[0]) > 1
    )
