"""Options that several commands share, so that one name means one thing everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import typer

from personakit.errors import UserError


def at_least_one(value: int | None) -> int | None:
    """Refuse a --limit that leaves nothing."""
    if value is not None and value < 1:
        raise UserError(f"--limit {value}: expected at least 1", hint="leave it out for all")
    return value


class _Store(Protocol):
    """A split of data of any kind."""

    def __len__(self) -> int: ...

    def subset(self: S, which: list[int], /) -> S:
        """Return what stands at some places."""
        ...


S = TypeVar("S", bound=_Store)


def spread(store: S, limit: int | None) -> S:
    """Return at most `limit` of a split, spread over it so that many users are in."""
    if limit is None or limit >= len(store):
        return store
    return store.subset([place * len(store) // limit for place in range(limit)])


Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings that replace the config's: sft.max_steps=100."),
]
Run = Annotated[
    Path | None, typer.Option("--run", metavar="DIR", help="A run's folder; by default the newest.")
]
Runs = Annotated[
    list[Path],
    typer.Option("--run", metavar="DIR", help="A run's folder; repeatable; by default the newest."),
]
Base = Annotated[
    str | None,
    typer.Option("--base", metavar="MODEL", help="The black box; by default the one the run was trained on."),
]
Bases = Annotated[
    list[str],
    typer.Option(
        "--base",
        metavar="MODEL",
        help="A base the rewriter never saw, repeatable: its generic row, the rewriter's behind it, and the "
        "share of its gain that it keeps there. With --no-run: the base of the baselines.",
    ),
]
RunData = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="lamp-mini, or a folder of LaMP's files; by default the run's own data.",
    ),
]
Tasks = Annotated[
    list[str],
    typer.Option(
        "--task", metavar="TASK", help="A task such as LaMP_3; repeatable; by default all there are."
    ),
]
Task = Annotated[str | None, typer.Option("--task", metavar="TASK", help="A task, such as LaMP_3.")]
Split = Annotated[str, typer.Option("--split", metavar="SPLIT", help="train, dev or test.")]
Limit = Annotated[
    int | None, typer.Option("--limit", metavar="N", callback=at_least_one, help="At most N queries a task.")
]
SampleIds = Annotated[
    list[str],
    typer.Option("--sample-id", metavar="ID", help="Only the query with this id; repeatable."),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        metavar="N",
        min=1,
        help="Requests to an API at once; by default endpoint.requests_at_once of the run.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what an earlier, stopped call left.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="The seed of everything random here.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="FIELD=COLUMN", help="A column that is called otherwise; repeatable."),
]
