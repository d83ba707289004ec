"""How a command that did not finish is told: one sentence, one hint, one exit status."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from typer.exceptions import TyperException

from personakit.errors import RunError, UserError

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class Ending:
    """The last words of a command that did not finish; `sentence` is printed with its first word."""

    sentence: str
    hint: str
    status: int


class Interrupted(Exception):
    """Ctrl-C in a command that can go on; carries the command that does.

    No `KeyboardInterrupt` itself, because typer turns every one of those into a bare exit status.
    """

    def __init__(self, resume: str) -> None:
        super().__init__(resume)
        self.resume = resume


@contextlib.contextmanager
def resumable(command: str) -> Iterator[None]:
    """Turn Ctrl-C inside the block into `Interrupted`, which says that `command` goes on."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(command) from error


def ending_of(error: BaseException) -> Ending:
    """Say how `error` ended the command."""
    if isinstance(error, Interrupted):
        return Ending("interrupted", f"`{error.resume}` goes on from here", INTERRUPTED)
    if isinstance(error, KeyboardInterrupt):
        return Ending("interrupted", "nothing is left half-written; run it again", INTERRUPTED)
    if isinstance(error, UserError):
        status = FAILED if isinstance(error, RunError) else WRONG_USE
        return Ending(f"error: {error.message}", error.hint, status)
    if isinstance(error, OSError) and (told := _system_ending(error)):
        return told
    if isinstance(error, MemoryError) or _is_cuda_out_of_memory(error):
        return Ending(
            "error: out of memory",
            "a smaller sft.per_device_train_batch_size with more sft.gradient_accumulation_steps, or a "
            "smaller --limit, needs less",
            FAILED,
        )
    first = (str(error).strip().splitlines() or ["no message"])[0]
    return Ending(
        f"error: {type(error).__name__}: {first}",
        "this is a bug in personakit or in something it stands on; --debug shows where",
        FAILED,
    )


def usage_ending(error: TyperException) -> Ending:
    """Say what was wrong with the command line itself."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "personakit"
    sentence = " ".join(error.format_message().split()).rstrip(".")
    return Ending(f"error: {sentence}", f"{path} --help lists what there is", WRONG_USE)


_SYSTEM = {
    errno.ENOSPC: ("no space left on the device", "free some space, or choose another disk with --output"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or choose another disk with --output"),
    errno.EROFS: ("the file system is read-only", "choose another place with --output"),
    errno.EACCES: ("permission denied", "check who owns it, or choose another place"),
    errno.EPERM: ("not permitted", "check who owns it, or choose another place"),
    errno.ENOENT: ("no such file or folder", "check the path"),
    errno.EISDIR: ("a folder, expected a file", "give a file inside it"),
    errno.ENOTDIR: ("not a folder", "a part of the path is a file"),
    errno.EEXIST: ("exists already", "choose another name, or remove it first"),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "choose a shorter one"),
    errno.ELOOP: ("a link that points to itself", "check the path"),
}


def _system_ending(error: OSError) -> Ending | None:
    """What the operating system refused; None for errors that no path or disk explains."""
    if error.errno not in _SYSTEM:
        return None
    sentence, hint = _SYSTEM[error.errno]
    place = error.filename2 or error.filename
    if isinstance(place, str) and place.endswith(".part"):  # files.py's own temporary name says nothing
        place = os.path.dirname(place) or "."
    where = f"{place}: " if place else "while writing: "
    return Ending(f"error: {where}{sentence}", hint, WRONG_USE)


def _is_cuda_out_of_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")  # not imported just to name an error it cannot have raised
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
