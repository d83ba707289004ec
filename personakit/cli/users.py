"""`personakit users`: the profile store of the service, its users and its API keys."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personakit.cli.command import command, group
from personakit.cli.options import Columns, parse_columns
from personakit.cli.output import Result, escaped, note, note_read, table
from personakit.serving import MAX_ITEMS

if TYPE_CHECKING:
    from personakit.serving.store import ProfileStore, TenantStore

app = group("users", "Show and change the profiles that the service keeps.")


def register(root: typer.Typer) -> None:
    """Add the group to `root`."""
    root.add_typer(app)


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
Tenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help="Whose users they are.")]
User = Annotated[str, typer.Argument(metavar="USER", help="The user's name.")]
OptionalUser = Annotated[
    str | None, typer.Option("--user", metavar="USER", help="The only user that the key gives access to.")
]


@command(app, "list")
def list_(
    store: Store = "profiles",
    tenant: Tenant = "default",
    after: Annotated[
        str | None, typer.Option("--after", metavar="USER", help="Begin behind this user.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most this many.")] = 100,
) -> Result:
    """List users, always in the same order."""
    found = [asdict(user) for user in _tenant(store, tenant).users(after=after, limit=limit)]
    columns = ("user", "created", "items", "summaries")
    rows = [[user[column] for column in columns] for user in found]
    if len(found) == limit:
        note(f"there may be more: --after {found[-1]['user']}")
    empty = f"no users in {store}, tenant {tenant}{f', after {after}' if after else ''}"
    return Result(found, lambda out: table(out, columns, rows, empty=empty))


@command(app, "show")
def show(user: User, store: Store = "profiles", tenant: Tenant = "default") -> Result:
    """Show all that is stored about a user."""
    document = _tenant(store, tenant).export(user)
    rows = [
        ("items", item["number"], item["date"] or item["created"], " · ".join(item["fields"].values()))
        for item in document["items"]
    ]
    rows += [("summaries", each["model"], each["created"], each["text"]) for each in document["summaries"]]
    rows += [("settings", name, "", value) for name, value in document["settings"].items()]
    empty = f"nothing is stored about {user} but that they are a user"
    return Result(document, lambda out: table(out, ("what", "", "date", "text"), rows, empty=empty))


@command(app, "add")
def add(
    user: User,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The user's texts: CSV, JSON, JSONL or Parquet.")
    ],
    task: Annotated[
        str, typer.Option("--task", metavar="TASK", help="The task whose items these are.")
    ] = "LaMP_7",
    column: Columns = None,
    max_items: MaxItems = MAX_ITEMS,
    store: Store = "profiles",
    tenant: Tenant = "default",
) -> Result:
    """Append a file's items to a user's history; a new user is made."""
    from personakit.data.history import read_history
    from personakit.data.skips import SkipCounts, counted
    from personakit.errors import UserError

    counts = SkipCounts()
    profiles = read_history(file, task, columns=parse_columns(column), counts=counts)
    note_read(file, counts.report)
    if len(profiles) > 1:
        raise UserError(
            f"{file} holds {len(profiles)} users, expected one", hint="give each user's file alone"
        )
    new = [(item.fields, item.date) for item in profiles[0].items]
    numbers = _open(store, create=True, max_items=max_items).tenant(tenant, create=True).append(user, new)
    document = {"user": user, "added": len(numbers), "first": numbers[0], "last": numbers[-1]}
    return Result(document, lambda out: out.print(f"{counted(len(numbers), 'items')} added"))


@command(app, "export")
def export(
    user: User,
    store: Store = "profiles",
    tenant: Tenant = "default",
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="The file; by default stdout.")
    ] = None,
) -> Result:
    """Write all that is stored about a user as JSON."""
    from personakit.files import json_text, write_json

    document = _tenant(store, tenant).export(user)
    if output is None:
        return Result(document, lambda out: out.print(json_text(document, indent=2)))
    write_json(output, document)
    return Result({"written": str(output)}, lambda out: out.print(str(output)))


@command(app, "forget")
def forget(user: User, store: Store = "profiles", tenant: Tenant = "default") -> Result:
    """Destroy a user's key and delete all that is stored about the user. It cannot be undone."""
    _tenant(store, tenant).forget(user)
    return Result({"forgotten": user}, lambda out: out.print(f"{escaped(user)} is forgotten"))


@command(app, "retention")
def retention(
    days: Annotated[
        float | None, typer.Option("--days", metavar="N", min=0, help="Delete what is older.")
    ] = None,
    items: Annotated[
        int | None, typer.Option("--items", metavar="N", min=0, help="Keep each user's newest items only.")
    ] = None,
    forever: Annotated[bool, typer.Option("--forever", help="Delete nothing by itself.")] = False,
    store: Store = "profiles",
    tenant: Tenant = "default",
) -> Result:
    """Set how long items are kept, or show it. Both limits are set together."""
    from personakit.errors import UserError
    from personakit.serving.store import Retention

    if forever and not (days is None and items is None):
        raise UserError("--forever and a limit were both given, expected one", hint="leave one out")
    users, deleted = _tenant(store, tenant, create=True), 0
    if forever or days is not None or items is not None:
        deleted = users.set_retention(Retention(days, items))
    kept = users.retention()
    text = f"days: {_limit(kept.days)}, items of a user: {_limit(kept.items)}; {deleted} deleted now"
    return Result({**asdict(kept), "deleted": deleted}, lambda out: out.print(text))


@command(app, "keys")
def keys(store: Store = "profiles", tenant: Tenant = "default") -> Result:
    """List the keys of the API, without their secrets."""
    opened = _open(store)
    found = [asdict(key) for key in opened.keys(opened.tenant(tenant)).list()]
    rows = [
        (
            key["id"],
            key["label"],
            key["user"] or "",
            key["created"],
            key["revoked"] or "",
            _limit(key["limits"]["requests_per_minute"]),
            _limit(key["limits"]["concurrent_requests"]),
        )
        for key in found
    ]
    columns = ("key", "label", "user", "created", "revoked", "per minute", "at once")
    empty = f"no keys of tenant {tenant}: personakit users create-key makes one"
    return Result(found, lambda out: table(out, columns, rows, empty=empty))


@command(app, "create-key")
def create_key(
    label: Annotated[str, typer.Option("--label", metavar="TEXT", help="What the key is for.")] = "",
    user: OptionalUser = None,
    rate: Annotated[
        int | None, typer.Option("--rate", metavar="N", min=1, help="At most this many requests a minute.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", metavar="N", min=1, help="At most this many at once.")
    ] = None,
    store: Store = "profiles",
    tenant: Tenant = "default",
) -> Result:
    """Make a key of the API and print it, once: only a hash is stored."""
    from personakit.serving.store import KeyLimits

    opened = _open(store, create=True)
    users = opened.tenant(tenant, create=True)
    number, secret = opened.keys(users).create(label, user=user, limits=KeyLimits(rate, concurrency))
    return Result({"key": number, "secret": secret, "user": user}, lambda out: out.print(secret))


@command(app, "revoke-key")
def revoke_key(
    key: Annotated[int, typer.Argument(metavar="KEY", help="The key's number (personakit users keys).")],
    store: Store = "profiles",
    tenant: Tenant = "default",
) -> Result:
    """Revoke a key of the API."""
    opened = _open(store)
    opened.keys(opened.tenant(tenant)).revoke(key)
    return Result({"revoked": key}, lambda out: out.print(f"key {key} is revoked"))


def _open(place: str, *, create: bool = False, max_items: int = MAX_ITEMS) -> ProfileStore:
    from personakit.serving import require_packages

    require_packages()
    from personakit.serving.store import open_store

    return open_store(place, create=create, max_items=max_items)


def _tenant(place: str, name: str, *, create: bool = False) -> TenantStore:
    return _open(place, create=create).tenant(name, create=create)


def _limit(value: Any) -> str:
    return "no limit" if value is None else f"{value:g}"
