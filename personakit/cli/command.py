"""Registers functions as commands, each with `--json` and `--debug`, that return a `Result`.

A command's options are the parameters of its function, or the fields of a dataclass.

While the function runs, stdout is redirected to stderr, so that libraries cannot print into a JSON document.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Collection
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, get_type_hints

import typer

from personakit.cli.output import Result, print_result
from personakit.cli.streams import checked_text
from personakit.training.progress import life_signs

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def group(name: str, help: str) -> typer.Typer:
    """Return a command group; without a subcommand it prints its help and exits with status 2."""
    app = typer.Typer(name=name, rich_markup_mode=None)
    app.callback(help=help, invoke_without_command=True)(help_without_command)
    return app


def help_without_command(context: typer.Context) -> None:
    """Print a group's help and exit with status 2 if no subcommand was given."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


def command(
    app: typer.Typer,
    name: str,
    options: type | None = None,
    *,
    leave_out: Collection[str] = (),
    life_signs_of_work: bool = True,
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Register the decorated function as command `name`; its docstring is the help text.

    The options are the function's parameters, or the fields of the dataclass `options` (except `leave_out`),
    an instance of which is then the function's argument. With `life_signs_of_work`, a call that takes long
    says what it is doing.
    """

    def register(function: Callable[..., Result]) -> Callable[..., Result]:
        @functools.wraps(function)
        def run(*, json: bool, debug: bool, **arguments: Any) -> None:
            del debug  # read by `main`, which prints the traceback
            arguments = {name: checked_text(_shown(run, name), value) for name, value in arguments.items()}
            quiet = arguments.get("quiet") or not life_signs_of_work
            signs = contextlib.nullcontext() if quiet else life_signs(f"{name}, still working")
            with signs, contextlib.redirect_stdout(sys.stderr):
                result = function(**arguments) if options is None else function(options(**arguments))
            print_result(result, as_json=json)
            if result.status:
                raise typer.Exit(result.status)

        parameters = _parameters(function) if options is None else _parameters_of(options, leave_out)
        parameters += [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
            for option, kind in (("json", Json), ("debug", Debug))
        ]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        app.command(name)(run)
        return function

    return register


def _shown(function: Callable[..., Any], name: str) -> str:
    """Return a parameter's name on the command line: `--user`, `QUERY`."""
    declared = next(iter(getattr(function.__annotations__[name], "__metadata__", ())), None)
    first = getattr(declared, "default", None)  # in Annotated, typer reads the option's name from there
    if isinstance(first, str) and first.startswith("-"):
        return first
    return getattr(declared, "metavar", None) or name


def _parameters(function: Callable[..., Result]) -> list[inspect.Parameter]:
    return list(inspect.signature(function, eval_str=True).parameters.values())


def _parameters_of(options: type, leave_out: Collection[str]) -> list[inspect.Parameter]:
    kinds = get_type_hints(options, include_extras=True)
    return [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_default(each),
            annotation=kinds[each.name],
        )
        for each in fields(options)
        if each.name not in leave_out
    ]


def _default(option: Field[Any]) -> Any:
    if option.default_factory is not MISSING:
        return option.default_factory()
    return inspect.Parameter.empty if option.default is MISSING else option.default
