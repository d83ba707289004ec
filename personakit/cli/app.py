"""The tree of commands."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer

from personakit.cli.command import help_without_command

# Modules of this package, each with `register(app)`, in the order of `personakit --help`.
_COMMANDS = (
    *("train", "eval", "infer", "verify", "export", "serve", "users"),
    *("data", "config", "report", "runs", "env"),
)


def command_tree(only: str | None = None) -> typer.Typer:
    """Return all commands; or the one called `only`, where there is one, to start faster."""
    # Help is printed plainly (no Rich): it starts faster, and docs/cli.md is the same text everywhere.
    app = typer.Typer(
        name="personakit",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback(invoke_without_command=True)(_root)
    for name in [only] if only in _COMMANDS else _COMMANDS:
        importlib.import_module(f"personakit.cli.{name}").register(app)
    return app


def help_text(arguments: list[str]) -> str | None:
    """Return the help of `COMMAND ... --help`; None for other arguments.

    Without parsing: typer loads pydantic to parse even a flag, which takes as long as everything else.
    """
    *path, flag = arguments or [""]
    if flag not in ("-h", "--help"):
        return None
    below: Any = typer.main.get_command(command_tree(path[0] if path else None))
    context = typer.Context(below, info_name="personakit", **below.context_settings)
    for name in path:
        below = getattr(below, "commands", {}).get(name)
        if below is None:
            return None
        context = typer.Context(below, parent=context, info_name=name, **below.context_settings)
    return context.get_help()


def _print_version(requested: bool) -> None:
    if requested:
        from personakit import __version__

        typer.echo(f"personakit {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train, evaluate and run personalised language models.

    By default: the model smollm2, the built-in data (its dev split), the newest run.
    """
    help_without_command(context)
