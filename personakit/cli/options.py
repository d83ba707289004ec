"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from personakit.errors import UserError


def at_least_one(value: int | None) -> int | None:
    """Refuse a --limit below 1."""
    if value is not None and value < 1:
        raise UserError(f"--limit {value}: expected at least 1", hint="leave it out for all")
    return value


def checked_share(value: float | None) -> float | None:
    """Refuse a --max-edit that is no share."""
    if value is not None and not 0 <= value <= 1:
        raise UserError(
            f"--max-edit {value:g}: expected a share from 0 to 1", hint="0.2 is a fifth of the draft's words"
        )
    return value


Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings that replace the config's: sft.max_steps=100."),
]
Run = Annotated[
    Path | None, typer.Option("--run", metavar="DIR", help="A run's folder, or voice; by default the newest.")
]
Base = Annotated[
    str | None,
    typer.Option("--base", metavar="MODEL", help="The base model; by default the one of the training."),
]
RunData = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="lamp-mini, or a folder of LaMP's files; by default the run's own data.",
    ),
]
Task = Annotated[str | None, typer.Option("--task", metavar="TASK", help="A task, such as LaMP_3.")]
Split = Annotated[str, typer.Option("--split", metavar="SPLIT", help="train, dev or test.")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", callback=at_least_one, help="At most N queries per task."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an earlier, stopped call.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="The random seed.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="FIELD=COLUMN",
        help="The column that holds a field; repeatable.",
    ),
]
Store = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="PLACE",
        envvar="PERSONAKIT_STORE",
        help="The profile store: a folder, or a database's URL.",
    ),
]
MaxItems = Annotated[
    int, typer.Option("--max-items", metavar="N", min=1, help="The most items of a user; answers read all.")
]


def parse_columns(columns: list[str] | None) -> dict[str, str]:
    """Read `--column FIELD=COLUMN` options."""
    parsed = {}
    for option in columns or ():
        name, equals, column = option.partition("=")
        if not (name and equals and column):
            raise UserError(
                f"--column {option}: expected FIELD=COLUMN", hint="for example --column text=body"
            )
        parsed[name] = column
    return parsed
