"""The standard streams and the texts of the command line, whatever the terminal and its encoding.

Characters that the terminal's encoding lacks are printed as `?`, so that an answer that was computed (and
billed) is shown. A closed stream becomes the null device.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

from personakit.errors import UserError

_STREAMS = ("stdin", "stdout", "stderr")


def open_streams() -> None:
    """Let stdout and stderr print any text, and open closed standard streams on the null device.

    `sys.stdin` stays None if it is closed, so that a command that reads it can say so.
    """
    for number in range(len(_STREAMS)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which a file must not get
    stdout_closed = sys.stdout is None or not _writable(1)
    for number, name in enumerate(_STREAMS[1:], start=1):
        if getattr(sys, name) is None or not _writable(number):
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the end
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace" if name == "stdout" else "backslashreplace")
    if stdout_closed:
        print("stdout is closed: the result is not printed", file=sys.stderr)


def _writable(number: int) -> bool:
    """Whether a descriptor can be written: a shell script started without stderr passes itself as stderr."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows
        return True
    return fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY


def checked_text(name: str, value: Any) -> Any:
    """Return a value of the command line; raises `UserError` for a text that is not UTF-8.

    In an ASCII locale Python cannot decode UTF-8 arguments by itself. Paths are left as they are: the name
    of a file may have any bytes.
    """
    if isinstance(value, list):
        return [checked_text(name, each) for each in value]
    if not isinstance(value, str) or value.isascii():
        return value
    try:
        return os.fsencode(value).decode("utf-8")
    except UnicodeDecodeError as error:
        shown = error.object.decode("utf-8", "backslashreplace")[:60]
        raise UserError(
            f"{name} {shown!r}: byte {error.start + 1} is not UTF-8, expected text", hint="give it as UTF-8"
        ) from error
    except UnicodeEncodeError:  # the locale's encoding is not UTF-8, and decoded it
        return value


def given_text(given: str, name: str) -> str:
    """Return a text: of stdin, of a file, or the argument itself."""
    from personakit.data.standard_input import decode_text, read_stdin

    if given == "-":
        text = decode_text(read_stdin(name), "stdin")
    elif _is_file(given):
        text = decode_text(Path(given).read_bytes(), given)
    elif len(given.split()) == 1 and Path(given).suffix in (".txt", ".md", ".eml"):
        raise UserError(f"{name} {given}: no such file", hint="check the path")
    else:
        text = given
    if not text.strip():
        raise UserError(f"{name} is empty, expected a text", hint="give a text, a file, or - for stdin")
    return text


def _is_file(given: str) -> bool:
    try:
        return Path(given).is_file()
    except (OSError, ValueError):  # too long for a name, or with a null character
        return False
