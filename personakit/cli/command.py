"""Registers a function as a command: every command gets `--json` and `--debug`, and returns a `Result`.

While the function runs, stdout is stderr: no library can spoil a JSON document by printing.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from personakit.cli.output import Result, print_result

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def group(name: str, help: str) -> typer.Typer:
    """A command that only holds others; alone it prints its help and counts as wrong use."""
    app = typer.Typer(name=name, rich_markup_mode=None)
    app.callback(help=help, invoke_without_command=True)(help_where_nothing_was_asked)
    return app


def help_where_nothing_was_asked(context: typer.Context) -> None:
    """Print a group's help, with exit status 2, where no command of it was named."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Register the decorated function under `name`; its docstring is the help text."""

    def register(function: Callable[..., Result]) -> Callable[..., Result]:
        @functools.wraps(function)
        def run(*, json: bool, debug: bool, **arguments: Any) -> None:
            del debug  # read by `main`, which is the one to print or keep the traceback
            with contextlib.redirect_stdout(sys.stderr):
                result = function(**arguments)
            print_result(result, as_json=json)

        signature = inspect.signature(function, eval_str=True)
        extra = [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
            for option, kind in (("json", Json), ("debug", Debug))
        ]
        run.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*signature.parameters.values(), *extra], return_annotation=None
        )
        run.__annotations__ = {**function.__annotations__, "json": Json, "debug": Debug, "return": None}
        app.command(name)(run)
        return function

    return register
