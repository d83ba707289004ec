"""Text from stdin, and where bytes are not UTF-8."""

from __future__ import annotations

import sys

from personakit.errors import UserError


def read_stdin(expected: str) -> bytes:
    """Read stdin to its end. Raises `UserError` if it is closed; `expected` says what it should hold."""
    if sys.stdin is None:
        raise UserError(f"stdin is closed, expected {expected}", hint="redirect a file or a pipe to it")
    return sys.stdin.buffer.read()


def decode_text(data: bytes, place: str) -> str:
    """Decode UTF-8 without a byte order mark; raises `UserError` with the line and byte of the fault."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        raise UserError(
            f"{place}, line {before.count(10) + 1}, byte {error.start - before.rfind(10)}: "
            f"0x{data[error.start]:02x} is not UTF-8, expected text",
            hint="convert it to UTF-8",
        ) from error
