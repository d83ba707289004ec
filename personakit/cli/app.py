"""The tree of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from personakit.cli import config, data, env, eval, infer, report, runs, train
from personakit.cli.command import help_where_nothing_was_asked

# Help is printed plainly (no Rich): it starts faster, and docs/cli.md is the same text everywhere.
app = typer.Typer(
    name="personakit",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(asked: bool) -> None:
    if asked:
        from personakit import __version__

        typer.echo(f"personakit {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train, evaluate and run personalised language models.

    Every command runs with no further argument: the built-in model, the built-in data, the newest run.
    """
    help_where_nothing_was_asked(context)


app.add_typer(train.app)
app.add_typer(eval.app)
infer.register(app)
app.add_typer(data.app)
app.add_typer(config.app)
report.register(app)
runs.register(app)
env.register(app)
