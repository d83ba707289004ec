"""Turns an exception into an error message, a hint and an exit status."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from typer.exceptions import TyperException

from personakit.errors import RunError, UserError, validator_message

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class Failure:
    """The output of a failed command: `sentence`, then `hint: ...`."""

    sentence: str
    hint: str
    status: int


class Interrupted(Exception):
    """Ctrl-C in a resumable command; `resume` is the command that resumes it.

    Not a `KeyboardInterrupt`, because typer turns those into an exit status without a message.
    """

    def __init__(self, resume: str) -> None:
        super().__init__(resume)
        self.resume = resume


@contextlib.contextmanager
def resumable(command: str) -> Iterator[None]:
    """Turn Ctrl-C in the block into `Interrupted` with the `command` that resumes."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(command) from error


def failure_of(error: BaseException) -> Failure:
    """Return the message of an exception."""
    if isinstance(error, Interrupted):
        return Failure("interrupted", f"`{error.resume}` continues from here", INTERRUPTED)
    if isinstance(error, KeyboardInterrupt):
        return Failure("interrupted", "all files are complete; run it again", INTERRUPTED)
    if isinstance(error, UserError):
        status = FAILED if isinstance(error, RunError) else WRONG_USE
        return Failure(f"error: {error.message}", error.hint, status)
    if isinstance(error, OSError) and (failure := _system_failure(error)):
        return failure
    if isinstance(error, MemoryError) or _is_cuda_out_of_memory(error):
        return Failure(
            "error: out of memory",
            "use smaller batches with more gradient accumulation, or a smaller --limit",
            FAILED,
        )
    first = (str(error).strip().splitlines() or ["no message"])[0]
    return Failure(
        f"error: {type(error).__name__}: {first}",
        "this is a bug in personakit or in a library it uses; --debug shows the traceback",
        FAILED,
    )


def usage_failure(error: TyperException) -> Failure:
    """Return the message for an invalid command line."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "personakit"
    sentence = " ".join(validator_message(error.format_message()).split()).rstrip(".")
    return Failure(f"error: {sentence}", f"{path} --help lists the options", WRONG_USE)


_SYSTEM = {
    errno.ENOSPC: ("no space left on the device", "free some space, or choose another disk with --output"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or choose another disk with --output"),
    errno.EROFS: ("the file system is read-only", "choose another place with --output"),
    errno.EACCES: ("permission denied", "check its owner, or choose another place"),
    errno.EPERM: ("not permitted", "check its owner, or choose another place"),
    errno.ENOENT: ("no such file or folder", "check the path"),
    errno.EISDIR: ("a folder, expected a file", "give a file inside it"),
    errno.ENOTDIR: ("not a folder", "a part of the path is a file"),
    errno.EEXIST: ("exists already", "choose another name, or remove it first"),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "choose a shorter one"),
    errno.ELOOP: ("a link that points to itself", "check the path"),
}


def _system_failure(error: OSError) -> Failure | None:
    """Return the message of a path or disk error; None for other errors."""
    if error.errno not in _SYSTEM:
        return None
    sentence, hint = _SYSTEM[error.errno]
    place = error.filename2 or error.filename
    if isinstance(place, str) and place.endswith(".part"):  # a temporary name of files.py
        place = os.path.dirname(place) or "."
    where = f"{place}: " if place else "while writing: "
    return Failure(f"error: {where}{sentence}", hint, WRONG_USE)


def _is_cuda_out_of_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")  # if it is not imported, it did not raise
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
