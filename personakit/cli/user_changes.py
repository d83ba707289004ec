"""`personakit users`: changes of what is stored about one user, as the API's routes make them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from personakit.cli.command import command
from personakit.cli.options import MaxItems, Store
from personakit.cli.output import Result, note
from personakit.cli.streams import given_text
from personakit.cli.user_store import Tenant, User, open_tenant
from personakit.errors import UserError
from personakit.serving import DEFAULT_TENANT, FOLDER, MAX_ITEMS


def register(app: typer.Typer) -> None:
    """Add the commands to the group `app`."""
    for change in (edit, delete, learn, summary, personalise):
        command(app, change.__name__)(change)


Number = Annotated[
    int, typer.Argument(metavar="NUMBER", min=1, max=10**9, help="The item's number (personakit users show).")
]


class Switch(StrEnum):
    """On or off."""

    ON = "on"
    OFF = "off"


def edit(
    user: User,
    number: Number,
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="The new text, a file with it, or - for stdin.")
    ],
    field: Annotated[str, typer.Option("--field", metavar="NAME", help="The field that it is.")] = "text",
    store: Store = FOLDER,
    tenant: Tenant = DEFAULT_TENANT,
) -> Result:
    """Change a text of an item; its other fields and its date stay."""
    users = open_tenant(store, tenant)
    found = [item for item in users.items(user, after=number - 1, limit=1) if item.number == number]
    if not found or field not in found[0].fields:
        raise UserError(
            f"{user!r} has no item {number}" + (f' with a field "{field}"' if found else ""),
            hint="personakit users show lists the items",
        )
    [item] = found
    users.replace_item(user, number, {**item.fields, field: given_text(text, "TEXT")}, item.date)
    return Result({"user": user, "number": number}, lambda out: out.print(f"item {number} is changed"))


def delete(user: User, number: Number, store: Store = FOLDER, tenant: Tenant = DEFAULT_TENANT) -> Result:
    """Delete an item."""
    open_tenant(store, tenant).delete_item(user, number)
    return Result({"user": user, "deleted": number}, lambda out: out.print(f"item {number} is deleted"))


def learn(
    user: User,
    final: Annotated[
        str,
        typer.Argument(metavar="FINAL", help="What the user made of it: a text, a file, or - for stdin."),
    ],
    draft: Annotated[
        str, typer.Option("--draft", metavar="TEXT", help="The answer as it was: a text or a file.")
    ],
    request: Annotated[
        str | None, typer.Option("--request", metavar="TEXT", help="The message that it answers.")
    ] = None,
    max_items: MaxItems = MAX_ITEMS,
    store: Store = FOLDER,
    tenant: Tenant = DEFAULT_TENANT,
) -> Result:
    """Append an answer as the user changed it; a new user is made.

    Retrieval and models never see the draft.
    """
    item = {"text": given_text(final, "FINAL"), "draft": given_text(draft, "--draft")}
    item |= {} if request is None else {"request": given_text(request, "--request")}
    [number] = open_tenant(store, tenant, create=True, max_items=max_items).append(user, [(item, None)])
    return Result({"user": user, "number": number}, lambda out: out.print(f"item {number} added"))


def summary(
    user: User,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The name of a run of POPI in the service.")],
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="TEXT", help="The summary, a file with it, or - for stdin.", show_default=False
        ),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete it: the run infers it again.")] = False,
    store: Store = FOLDER,
    tenant: Tenant = DEFAULT_TENANT,
) -> Result:
    """Set the summary that a run answers from by hand, or delete it."""
    if delete == (text is not None):
        raise UserError(
            "expected TEXT or --delete, and not both", hint="personakit users show has the summaries"
        )
    users = open_tenant(store, tenant)
    users.user(user)  # put_summary would make the user
    if text is None:
        users.delete_summary(user, run)
    else:
        _check_summarised(run)
        users.put_summary(user, run, given_text(text, "TEXT"))
    done = "deleted" if text is None else "set"
    return Result({"user": user, "run": run, "done": done}, lambda out: out.print(f"the summary is {done}"))


def _check_summarised(run: str) -> None:
    """Raise `UserError` for a run that reads no summaries; say so of one that is not among the known runs."""
    from personakit.methods import read_run
    from personakit.models import voice
    from personakit.popi.method import METHOD as POPI
    from personakit.serving.store import checked_name

    checked_name(run, "model")
    folder = Path(run) if run == voice.NAME else Path("runs") / run
    if folder.parent.name == "runs" and not folder.is_dir():
        note(f"runs/ has no run {run!r}: only a service that has such a run of {POPI.name} reads the summary")
    elif read_run(folder).method != POPI.name:
        raise UserError(f"{run} reads no summaries", hint=f"name a run of {POPI.name}")


def personalise(
    user: User,
    switch: Annotated[Switch, typer.Argument(metavar="on|off", help="off: the base model's own answers.")],
    store: Store = FOLDER,
    tenant: Tenant = DEFAULT_TENANT,
) -> Result:
    """Switch personalisation of a user on or off."""
    users = open_tenant(store, tenant)
    users.user(user)
    users.put_setting(user, "personalise", switch is Switch.ON)
    return Result(
        {"user": user, "personalise": switch is Switch.ON},
        lambda out: out.print(f"personalisation is {switch.value}"),
    )
