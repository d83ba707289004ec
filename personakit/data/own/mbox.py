"""The messages of mbox files, Maildir folders and `.eml` files as bytes, at flat memory.

A message is read to `LONGEST` bytes: its text stands before its attachments. In an mbox, a message begins
with a line `From ... 10:21:44 2024` after an empty line (RFC 4155); the standard library's `mailbox` splits
at every line with "From ", also in the middle of a text, and keeps a table of all messages.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from personakit import steps
from personakit.data.json_stream import unreadable

LONGEST = 1 << 20
_SEPARATOR = re.compile(
    rb"From [^\r\n]*\d\d?:\d\d[^\r\n]*\d{4}[^\r\n]*|From [^\r\n]*\d{4}[^\r\n]*\d\d?:\d\d.*"
)
_ESCAPED = re.compile(rb"^>(>*From )", re.MULTILINE)
_LONGEST_LINE = 1 << 16
_MAILDIR = ("cur", "new")


def message_files(source: Path) -> list[Path]:
    """Return the files with messages in a file or folder: an mbox, a Maildir's messages, `.eml` files.

    Thunderbird's mboxes have no suffix (`Sent`), and folders called `new` may be of another kind than a
    Maildir's: those are looked into.
    """
    if not source.is_dir():
        return [source]
    found: list[Path] = []
    for folder, _, names in os.walk(source):
        paths = [Path(folder, name) for name in sorted(names) if not name.startswith(".")]
        files = [path for path in paths if path.is_file()]
        all_of_them = _holds_messages(Path(folder), files)
        found += [path for path in files if all_of_them or _is_mail(path)]
    return sorted(found)


def is_maildir(source: Path) -> bool:
    """Return whether a folder is a Maildir, also an empty one."""
    return all((source / name).is_dir() for name in _MAILDIR)


def _holds_messages(folder: Path, files: Sequence[Path]) -> bool:
    return folder.name in _MAILDIR and (is_maildir(folder.parent) or any(map(is_message, files[:1])))


def _is_mail(path: Path) -> bool:
    if path.suffix:
        return path.suffix.casefold() in (".mbox", ".eml")
    return path.name == "mbox" or is_mbox(path)


def is_mbox(path: Path) -> bool:
    """Return whether a file begins like an mbox."""
    with path.open("rb") as handle:
        return bool(_SEPARATOR.match(handle.readline(_LONGEST_LINE)))


def is_message(path: Path) -> bool:
    """Return whether a file begins with the headers of an e-mail."""
    with path.open("rb") as handle:
        start = handle.read(_LONGEST_LINE)
    headers = re.split(rb"\r?\n\r?\n", start, maxsplit=1)[0]
    return bool(re.match(rb"[!-9;-~]+:", headers)) and bool(re.search(rb"^From:", headers, re.M | re.I))


def messages(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the place (a byte) and the bytes of each message, cut to `LONGEST`. Raises `UserError`."""
    try:
        if not is_mbox(path):
            with path.open("rb") as handle:
                yield 0, handle.read(LONGEST)
            return
        with (
            path.open("rb") as handle,
            steps.step(f"reading {path.name}, MB", path.stat().st_size >> 20) as step,
        ):
            yield from _split(handle, step)
    except OSError as error:
        raise unreadable(path, error) from error


def message_at(path: Path, start: int) -> bytes:
    """Return the message that `messages` yielded with this place."""
    if not is_mbox(path):
        return next(messages(path))[1]
    with path.open("rb") as handle:
        handle.seek(start)
        return next(_split(handle, None), (0, b""))[1]


def _split(handle: BinaryIO, step: steps.Step | None) -> Iterator[tuple[int, bytes]]:
    position = start = handle.tell()
    lines: list[bytes] = []
    size, begun, blank = 0, False, True
    while line := handle.readline(_LONGEST_LINE):
        if blank and line.startswith(b"From ") and _SEPARATOR.fullmatch(line.rstrip(b"\r\n")):
            if begun:
                yield start, _joined(lines)
            lines, size, begun, start = [], 0, True, position
            if step is not None:
                step.update(position >> 20)
        elif size < LONGEST:
            lines.append(line)
            size += len(line)
        blank = line in (b"\n", b"\r\n")
        position += len(line)
    if begun:
        yield start, _joined(lines)


def _joined(lines: list[bytes]) -> bytes:
    return _ESCAPED.sub(rb"\1", b"".join(lines))


class Places:
    """Where the message of an id is: 24 bytes each, so that an archive of any size has an index in memory."""

    def __init__(self) -> None:
        self._hashes, self._files, self._starts = array("q"), array("l"), array("q")
        self._order: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None

    def add(self, id: str, file: int, start: int) -> None:
        """Add a message."""
        self._hashes.append(hash(id))
        self._files.append(file)
        self._starts.append(start)
        self._order = None

    def find(self, id: str) -> tuple[int, int] | None:
        """Return the file and the place of a message, None if there is none with this id."""
        hashes = np.frombuffer(self._hashes, dtype=np.int64)
        if self._order is None:
            self._order = np.argsort(hashes, kind="stable")
        rank = int(np.searchsorted(hashes, hash(id), sorter=self._order))
        if rank == len(hashes) or hashes[self._order[rank]] != hash(id):
            return None
        found = int(self._order[rank])
        return self._files[found], self._starts[found]
