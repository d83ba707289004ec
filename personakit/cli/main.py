"""Runs a command and returns its exit status.

0 done · 1 the run failed · 2 wrong use or bad input · 3 not verified · 130 interrupted. An error is one
sentence with the value and its place, then `hint: ...`; the traceback only with `--debug`.

Under `accelerate launch` only the main process prints (all do with `--debug`); another process prints its
error only if the main process has none.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Sequence

from typer.exceptions import TyperException

from personakit.cli.app import command_tree, help_text
from personakit.cli.errors import Failure, failure_of, usage_failure
from personakit.cli.output import print_error, print_help
from personakit.cli.streams import open_streams
from personakit.errors import UserError
from personakit.models.environment import silence_libraries
from personakit.training.allocator import COMPUTING
from personakit.training.processes import is_main_process, process_count, process_rank

# Seconds that a failing process waits under a launcher, which ends all processes when one ends: so that the
# main process reports an error of all, and no process reports a connection lost because another one ended.
_LOST_CONNECTION, _NOT_MAIN = 3.0, 6.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `personakit ARGUMENTS` and return its exit status."""
    silence_libraries()
    if arguments is None:
        arguments = sys.argv[1:]
    open_streams()
    debug = "--debug" in arguments
    if not is_main_process() and not debug:
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the end
    try:
        if (text := help_text(list(arguments))) is not None:
            return print_help(text)
        _require_working_directory(arguments)
        app = command_tree(next(iter(arguments), None))
        status = app(args=list(arguments), prog_name="personakit", standalone_mode=False)
    except TyperException as error:
        return _end(usage_failure(error))
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - reported below
        if debug:
            traceback.print_exception(error)
        if process_count() > 1:
            _wait_for_main_process(error)
        return _end(failure_of(error))
    if status == 130:  # typer's status for an interruption that no command caught
        return _end(failure_of(KeyboardInterrupt()))
    return status if isinstance(status, int) else 0


def _require_working_directory(arguments: Sequence[str]) -> None:
    """Raise `UserError` where the folder was deleted in which a model shall compute: MKL ends the process."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        if arguments[:1] and arguments[0] in COMPUTING:
            raise UserError(
                "the working directory no longer exists", hint="change to a folder that exists"
            ) from error


def _wait_for_main_process(error: BaseException) -> None:
    """Under a launcher, wait until the process with the original error has reported it."""
    if not is_main_process():
        time.sleep(_NOT_MAIN)
        sys.stderr = sys.__stderr__
        print(f"process {process_rank()} of {process_count()}:", file=sys.stderr)
    elif isinstance(error, RuntimeError):  # a lost connection is one
        time.sleep(_LOST_CONNECTION)


def _end(failure: Failure) -> int:
    print_error(failure.sentence, failure.hint)
    return failure.status
