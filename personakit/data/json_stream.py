"""Reads a JSON list element by element, or many at once, however large the file.

An element's end is guessed and then proved. In a regular file every element ends alike (LaMP: `]}`
after the profile, or `], "user_id": "..."}`), so the tail of one element is searched for and what
stands before it is parsed: no proper prefix of a JSON object is itself JSON, hence a slice that
parses from the element's start *is* the element. Where the guess fails, the standard library's
`raw_decode` finds the exact end, and the tail is learnt anew.

Why not ijson: with its yajl2_c backend elements take twice as long (0.62 against 0.30 CPU seconds for
197 MB), and a whole conversion, for which `guess_block` hands Arrow many elements at once, three times as
long (6.3 against 1.9), at the same peak memory (`benchmarks/read_lamp.py --queries 3200`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import orjson

from personakit import steps
from personakit.data.json_text import BOM, constant
from personakit.errors import UserError

CHUNK_BYTES = 1 << 20
_SPACE = re.compile(rb"[ \t\n\r]*")
_AFTER_ELEMENT = re.compile(rb"\s*(?:,\s*(?=\{)|(?=\]))")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"(\s*:)?', re.DOTALL)
_ANY_STRING = rb'"(?:[^"\\]|\\.)*"'
_LONGEST_TAIL = 1024
_GUESSES = 8
# An error this close to the end of what was read may be mended by more; so as much of it can be quoted.
_LOOK_AHEAD = 12
_DECODER = json.JSONDecoder(parse_constant=constant)
# LaMP's create_avocado_dataset.py writes test_questions.json as {"task": ..., "golds": [questions]}.
_TASK = rb'"task"\s*:\s*"[^"]*"'
_BEFORE_GOLDS = re.compile(rb"\{\s*(?:" + _TASK + rb'\s*,\s*)?"golds"\s*:\s*(?=\[\s*\{)')
_AFTER_GOLDS = re.compile(rb"(?:\s*,\s*" + _TASK + rb")?\s*\}\s*")
_HINT_JSON = "check the file with `python -m json.tool FILE`, or fetch it again"


def stream_list(path: Path, *, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Any]:
    """Yield the elements of the JSON list in `path`, holding one chunk and one element at a time.

    Raises `UserError` naming the file and the place where it is missing, empty, not UTF-8, not
    JSON, not a list, or cut off.
    """
    with ListReader(path, chunk_bytes=chunk_bytes) as reader:
        while reader.more():
            yield reader.element()


def unreadable(path: Path, error: OSError) -> UserError:
    """Return the error for a file that cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path} does not exist, expected a data file", hint="check the path's spelling")
    return UserError(f"{path} cannot be read: {error.strerror}", hint="check that it is a file you may read")


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive elements as JSON lines: so it seems; a parser must agree before `skip_block`."""

    lines: bytes
    count: int
    longest: int  # element, in bytes
    last_end: int  # in the reader's buffer


class ListReader:
    """The reader behind `stream_list`: ask `more()`, then take one `element()`, or guess a whole block.

    `handle` is the opened file where the caller has converted it to UTF-8.
    """

    def __init__(self, path: Path, *, chunk_bytes: int = CHUNK_BYTES, handle: BinaryIO | None = None) -> None:
        self.path = path
        self._given = handle
        self.number = 0  # of the last element taken, from 1
        self._chunk_bytes = chunk_bytes
        self._handle: BinaryIO
        self._buffer = b""
        self._base = 0  # the file offset of buffer[0]
        self._position = 0  # in the buffer: everything before it is done with
        self._inside = False  # the list
        self._in_object = False  # the list stands in LaMP's {"task", "golds"}
        self._ended = False
        self._last_size = 1 << 14
        self._tail: re.Pattern[bytes] | None = None  # what follows an element's last "]"

    def __enter__(self) -> ListReader:
        try:
            self._handle = self._given or self.path.open("rb")
        except OSError as error:
            raise unreadable(self.path, error) from error
        size = self.path.stat().st_size // 1_000_000 if self._given is None else 0
        self._work = steps.Step(f"reading {self.path.name}{', MB' if size else ''}", size or None)
        steps.begin(self._work)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        steps.end(self._work)
        self._handle.close()

    def more(self) -> bool:
        """Go to the next element; False, and the file is sound to its end, where there is none."""
        if self._ended:
            return False
        if not self._inside:
            self._open_list()
            following = self._next_byte()
            self._ended = following == b"]"
        else:
            following = self._next_byte()
            if following is None:
                raise self._cut_off()
            if following not in (b",", b"]"):
                raise self._bad(f'"," or "]" at byte {self._base + self._position}')
            self._ended = following == b"]"
            if not self._ended:
                self._position += 1
                following = self._next_byte()
        if following is None:
            self.number += 1
            raise self._cut_off()
        if self._ended:
            self._position += 1
            if self._in_object:
                self._end_object()
            if self._next_byte() is not None:
                raise self._bad(f"nothing after the list, at byte {self._base + self._position}")
        return not self._ended

    def element(self) -> Any:
        """Return the element that `more()` went to, parsed."""
        self.number += 1
        guessed = None if self._tail is None else self._guessed_element(self._tail)
        return self._exact_element() if guessed is None else guessed[0]

    def guess_block(self) -> Block | None:
        """Return the elements from here to the chunk's end, None where they cannot be told apart."""
        if self._tail is None:
            return None
        while len(self._buffer) - self._position < self._chunk_bytes and self._fill():
            pass
        slices = []
        start = searched = end = self._position
        while (hit := self._buffer.find(b"]", searched)) >= 0:
            searched = hit + 1
            tail = self._tail.match(self._buffer, searched)
            after = None if tail is None else _AFTER_ELEMENT.match(self._buffer, tail.end())
            if tail is None or after is None:
                continue
            end = tail.end()
            slices.append(self._buffer[start:end])
            start = searched = after.end()
        lines = b"\n".join(slices)
        if not slices or lines.count(b"\n") >= len(slices):  # pretty-printed: not lines
            return None
        return Block(lines, len(slices), max(map(len, slices)), end)

    def skip_block(self, block: Block) -> None:
        """Take the block that was just guessed as read."""
        self.number += block.count
        self._position = block.last_end

    def _open_list(self) -> None:
        self._fill()
        if self._buffer.startswith(BOM):
            self._position = len(BOM)
        first = self._next_byte()
        object_start = _BEFORE_GOLDS.match(self._buffer, self._position)
        if object_start is not None:
            self._in_object = True
            self._position = object_start.end()
            first = self._next_byte()
        if first != b"[":
            raise self._not_a_list(first)
        self._position += 1
        self._inside = True

    def _end_object(self) -> None:
        while self._fill():
            pass
        end = _AFTER_GOLDS.match(self._buffer, self._position)
        if end is None:
            raise self._bad(f'"}}" after the list, at byte {self._base + self._position}')
        self._position = end.end()

    def _fill(self) -> bool:
        """Append the next chunk, dropping what is done with; False at the end of the file."""
        held = len(self._buffer) - self._position
        chunk = self._handle.read(max(self._chunk_bytes, held))  # doubling: a huge element stays linear
        if not chunk:
            return False
        self._buffer = self._buffer[self._position :] + chunk
        self._base += self._position
        self._work.update(self._base / 1_000_000)
        self._position = 0
        return True

    def _next_byte(self) -> bytes | None:
        """Skip white space and return the byte there, None at the end of the file."""
        while True:
            match = _SPACE.match(self._buffer, self._position)
            assert match is not None
            self._position = match.end()
            if self._position < len(self._buffer):
                return self._buffer[self._position : self._position + 1]
            if not self._fill():
                return None

    def _guessed_element(self, tail: re.Pattern[bytes]) -> tuple[Any] | None:
        searched = 0  # bytes after the position already searched
        failures = 0
        while failures < _GUESSES:
            hit = self._buffer.find(b"]", self._position + searched)
            match = None if hit < 0 else tail.match(self._buffer, hit + 1)
            if match is None and 0 <= hit < len(self._buffer) - _LONGEST_TAIL:
                searched = hit + 1 - self._position
                continue
            if match is None:  # not in the buffer, or cut by its end
                held = len(self._buffer) - self._position
                searched = held if hit < 0 else hit - self._position
                if held > self._chunk_bytes + 4 * self._last_size or not self._fill():
                    return None
                continue
            end = match.end()
            try:
                value = orjson.loads(memoryview(self._buffer)[self._position : end])
            except orjson.JSONDecodeError:
                failures += 1
                searched = hit + 1 - self._position
                continue
            self._last_size = end - self._position
            self._position = end
            return (value,)
        return None

    def _exact_element(self) -> Any:
        window = 2 * self._last_size
        while True:
            whole = window >= len(self._buffer) - self._position
            raw = self._buffer[self._position : self._position + window]
            text, not_utf8 = self._decode(raw)
            try:
                value, characters = _DECODER.raw_decode(text)
            except json.JSONDecodeError as error:
                if not _may_be_cut(error, text):
                    raise self._invalid(error) from error
                if not_utf8 is not None:
                    raise not_utf8 from error
                window *= 2
                if whole and not self._fill():
                    at_the_end = error.pos >= len(text.rstrip()) or error.msg.startswith(
                        ("Unterminated", "Invalid \\")
                    )
                    raise (self._cut_off() if at_the_end else self._invalid(error)) from error
                continue
            except RecursionError as error:
                raise self._bad("fewer nested brackets") from error
            if not isinstance(value, (dict, list, str)) and not text[characters:].strip("0123456789.eE+-"):
                window *= 2  # a number cut anywhere ("0.", "1e") may go on
                if not whole or self._fill():
                    continue
            element = text[:characters].encode()
            self._refuse_half_characters(element)
            self._learn(element, value)
            self._position += len(element)
            self._last_size = len(element)
            return value

    def _decode(self, raw: bytes) -> tuple[str, UserError | None]:
        """Return the text up to what is not UTF-8, and the error should the element reach that far."""
        try:
            return raw.decode("utf-8"), None
        except UnicodeDecodeError as error:
            text = raw[: error.start].decode("utf-8")
            if error.reason == "unexpected end of data":  # a character cut by the window's edge
                return text, None
            return text, UserError(
                f"{self.path}, item {self.number}: byte {raw[error.start]:#04x} at offset "
                f"{self._base + self._position + error.start} is not UTF-8, expected a UTF-8 file",
                hint="convert it, for example with `iconv -f latin1 -t utf-8`",
            )

    def _refuse_half_characters(self, element: bytes) -> None:
        if b"\\u" not in element:
            return
        try:
            orjson.loads(element)
        except orjson.JSONDecodeError as error:
            if "surrogate" in str(error):
                raise UserError(
                    f"{self.path}, item {self.number}: a \\uD800-\\uDFFF escape stands alone, "
                    "expected a whole surrogate pair",
                    hint="half a character cannot be stored as UTF-8: remove the escape",
                ) from error

    def _learn(self, element: bytes, value: Any) -> None:
        """Note what stands after an element's last "]": its keys as they are, any text for their values."""
        self._tail = None
        last_bracket = element.rfind(b"]")
        if not isinstance(value, dict) or last_bracket < 0:
            return
        pattern = b""
        position = last_bracket + 1
        for text in _STRING.finditer(element, position):
            pattern += re.escape(element[position : text.start()])
            pattern += re.escape(text.group()) if text.group(1) else _ANY_STRING
            position = text.end()
        self._tail = re.compile(pattern + re.escape(element[position:]), re.DOTALL)

    def _bad(self, expected: str) -> UserError:
        place = f", item {self.number}" if self.number else ""
        return UserError(f"{self.path}{place}: not valid JSON, expected {expected}", hint=_HINT_JSON)

    def _invalid(self, error: json.JSONDecodeError) -> UserError:
        offset = self._base + self._position + len(error.doc[: error.pos].encode())
        found = error.doc[error.pos : error.pos + _LOOK_AHEAD]
        return UserError(
            f"{self.path}, item {self.number}: not valid JSON at byte {offset}, {found!r}: {error.msg}",
            hint=_HINT_JSON,
        )

    def _cut_off(self) -> UserError:
        return UserError(
            f"{self.path}, item {self.number}: the file is cut off at byte {self._base + len(self._buffer)}, "
            'expected a "]" that ends the list',
            hint="the copy or download did not finish: fetch the file again",
        )

    def _not_a_list(self, first: bytes | None) -> UserError:
        if first is None:
            return UserError(f"{self.path} is empty, expected a JSON list", hint="fetch the file again")
        if self._buffer[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\x00" in self._buffer[:4]:
            return UserError(
                f"{self.path} is UTF-16 or UTF-32, expected UTF-8",
                hint="convert it, for example with `iconv -f utf-16 -t utf-8`",
            )
        if first == b"{":
            return UserError(
                f"{self.path} holds a JSON object, expected a list of questions",
                hint="put the questions in one list, [{...}, {...}]; only outputs files are objects",
            )
        return UserError(
            f"{self.path}: not valid JSON, it begins with {self._buffer[self._position :][:20]!r}, "
            'expected a list, "["',
            hint=_HINT_JSON,
        )


def _may_be_cut(error: json.JSONDecodeError, text: str) -> bool:
    """True where more text could still mend the error: it lies at the very end."""
    return error.msg.startswith("Unterminated string") or error.pos >= len(text) - _LOOK_AHEAD
