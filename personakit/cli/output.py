"""Prints results on stdout and everything else on stderr, with control characters escaped.

Rich's markup, emoji codes and highlighting are off, so that `[/]` in a review is printed literally. A history
could contain terminal escapes, so control characters are printed as `\\x1b`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from personakit.files import json_text

if TYPE_CHECKING:
    from rich.console import Console

    from personakit.data.skips import SkipCount

_UNFOLDED = 10_000  # columns: wider than any row
BROKEN_PIPE = 141  # 128 + SIGPIPE, as a shell reports it


@dataclass(frozen=True)
class Result:
    """A command's result: `--json` prints `document`, otherwise `show` prints it; then its exit status."""

    document: Any
    show: Callable[[Console], None]
    status: int = 0


def console(file: TextIO) -> Console:
    """Return a Rich console that prints literally, and does not wrap lines in a pipe or a file."""
    from rich.console import Console

    class Pipe(Console):
        """Lets `print_result` handle a closed pipe; Rich would exit with status 1."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    width = None if file.isatty() or "COLUMNS" in os.environ else _UNFOLDED
    return Pipe(file=file, width=width, markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_result(result: Result, *, as_json: bool) -> None:
    """Print on stdout; if the reader closes the pipe (`| head`), end without an error message."""
    import typer

    try:
        if as_json:
            sys.stdout.write(_json(result.document, sys.stdout.encoding or "utf-8") + "\n")
        else:
            result.show(console(sys.stdout))
        sys.stdout.flush()
    except BrokenPipeError:
        _close_stdout()
        raise typer.Exit(BROKEN_PIPE) from None


def _json(document: Any, encoding: str) -> str:
    """Return indented JSON, with escapes if the encoding lacks a character."""
    text = json_text(document, indent=2, default=_plain)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(json.loads(text), indent=2)
    return text


def print_help(text: str) -> int:
    """Print a help text in the same way; return the exit status."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _close_stdout()
        return BROKEN_PIPE
    return 0


def _close_stdout() -> None:
    # Python flushes stdout again at exit, which would raise.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(text: str) -> None:
    """Print a message on stderr."""
    print(escaped(text), file=sys.stderr)


def note_skipped(source: object, skipped: Mapping[str, SkipCount]) -> None:
    """Print what was skipped in a file or a split, and why."""
    for reason, skip in skipped.items():
        note(f"skipped in {source}: {_counted_with_place(skip, reason, source)}")


def note_read(source: object, found: Mapping[str, SkipCount]) -> None:
    """Print what was missing in a file, or left out because of it."""
    for reason, count in found.items():
        note(f"{source}: {_counted_with_place(count, reason, source)}")


def _counted_with_place(skip: SkipCount, reason: str, source: object) -> str:
    from personakit.data.skips import counted

    return f"{counted(skip.count, reason)} (first: {skip.first.removeprefix(f'{source}, ')})"


def print_error(sentence: str, hint: str) -> None:
    """Print an error message and its hint."""
    print(f"{escaped(sentence)}\nhint: {escaped(hint)}", file=sys.stderr)


def table(
    out: Console, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "nothing to list"
) -> None:
    """Print rows under column names, numbers right-aligned; without rows, `empty` on stderr instead."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    cells = [list(row) for row in rows]
    if not cells:
        note(empty)
        return
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, column in enumerate(columns):
        numeric = bool(cells) and all(isinstance(row[number], int | float) for row in cells)
        drawn.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        drawn.add_row(*(escaped(str(cell)) for cell in row))
    out.print(drawn, soft_wrap=False)


def escaped(text: str) -> str:
    """`text` with control characters other than newline and tab written as `\\x1b`."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else _by_name(character)
        for character in text
    )


def shortened(text: str, width: int = 100) -> str:
    """`text` on one line, cut to `width` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _by_name(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii") if not character.isspace() else character


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
