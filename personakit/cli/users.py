"""`personakit users`: the profile store of the service, its users and its API keys."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from personakit.cli import user_changes
from personakit.cli.command import command
from personakit.cli.options import Columns, MaxItems, Store, parse_columns
from personakit.cli.output import Result, escaped, note, note_read, table
from personakit.cli.user_store import Tenant, User, app, open_profiles, open_tenant
from personakit.errors import UserError
from personakit.serving import DEFAULT_TENANT, FOLDER, MAX_ITEMS, require_packages


def register(root: typer.Typer) -> None:
    """Add the group to `root`."""
    user_changes.register(app)
    root.add_typer(app)


OptionalUser = Annotated[
    str | None, typer.Option("--user", metavar="USER", help="The only user that the key gives access to.")
]


@command(app, "list")
def list_(
    store: Store = FOLDER,
    tenant: Tenant = DEFAULT_TENANT,
    after: Annotated[
        str | None, typer.Option("--after", metavar="USER", help="Only users after this one.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, max=2**53, help="At most this many.")
    ] = 100,
) -> Result:
    """List users, always in the same order."""
    found = [asdict(user) for user in open_tenant(store, tenant).users(after=after, limit=limit)]
    columns = ("user", "created", "items", "summaries")
    rows = [[user[column] for column in columns] for user in found]
    if len(found) == limit:
        note(f"there may be more: --after {found[-1]['user']}")
    empty = "there are no more users" if after else "there are no users: personakit users add makes one"
    return Result(found, lambda out: table(out, columns, rows, empty=empty))


@command(app, "show")
def show(user: User, store: Store = FOLDER, tenant: Tenant = DEFAULT_TENANT) -> Result:
    """Show all that is stored about a user."""
    document = open_tenant(store, tenant).export(user)
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
        Path,
        typer.Argument(metavar="FILE", help="The user's texts: CSV, JSON, JSONL or Parquet; - is stdin."),
    ],
    task: Annotated[
        str, typer.Option("--task", metavar="TASK", help="The task whose items these are.")
    ] = "LaMP_7",
    column: Columns = None,
    max_items: MaxItems = MAX_ITEMS,
    store: Store = FOLDER,
    tenant: Tenant = DEFAULT_TENANT,
) -> Result:
    """Append a file's items to a user's history; a new user is made."""
    from personakit.data.history import read_history
    from personakit.data.skips import SkipCounts, counted

    counts = SkipCounts()
    profiles = read_history(file, task, columns=parse_columns(column), counts=counts)
    place = "stdin" if str(file) == "-" else file
    note_read(place, counts.report)
    if len(profiles) > 1:
        raise UserError(
            f"{place} holds {len(profiles)} users, expected one", hint="give each user's file alone"
        )
    require_packages()
    from personakit.serving.store import check_texts

    for item in profiles[0].items:
        check_texts(item.fields, f"{place}, item {item.id}")
    new = [(item.fields, item.date) for item in profiles[0].items]
    numbers = open_tenant(store, tenant, create=True, max_items=max_items).append(user, new)
    document = {"user": user, "added": len(numbers), "first": numbers[0], "last": numbers[-1]}
    return Result(document, lambda out: out.print(f"{counted(len(numbers), 'items')} added"))


@command(app, "export")
def export(
    user: User,
    store: Store = FOLDER,
    tenant: Tenant = DEFAULT_TENANT,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="The file; by default stdout.")
    ] = None,
) -> Result:
    """Write all that is stored about a user as JSON."""
    from personakit.files import json_text, write_json

    document = open_tenant(store, tenant).export(user)
    if output is None:
        return Result(document, lambda out: out.print(json_text(document, indent=2)))
    write_json(output, document)
    return Result({"written": str(output)}, lambda out: out.print(str(output)))


@command(app, "forget")
def forget(user: User, store: Store = FOLDER, tenant: Tenant = DEFAULT_TENANT) -> Result:
    """Destroy a user's key and delete all that is stored about the user. It cannot be undone."""
    open_tenant(store, tenant).forget(user)
    return Result({"forgotten": user}, lambda out: out.print(f"{escaped(user)} is forgotten"))


@command(app, "retention")
def retention(
    days: Annotated[float | None, typer.Option("--days", metavar="N", help="Delete what is older.")] = None,
    items: Annotated[
        int | None,
        typer.Option("--items", metavar="N", max=10**9, help="Keep each user's newest items only."),
    ] = None,
    forever: Annotated[bool, typer.Option("--forever", help="Delete nothing by itself.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be deleted now.")] = False,
    store: Store = FOLDER,
    tenant: Tenant = DEFAULT_TENANT,
) -> Result:
    """Set how long items are kept, or show it. Both limits are set together."""
    if forever and not (days is None and items is None):
        raise UserError("--forever and a limit were both given, expected one", hint="leave one out")
    for option, value in (("--days", days), ("--items", items)):
        if value is not None and not value > 0:
            raise UserError(
                f"{option} {value:g} keeps no item of any user, expected more than 0",
                hint="personakit users forget deletes a user",
            )
    users, deleted = open_tenant(store, tenant, create=not dry_run), 0
    from personakit.serving.store import Retention

    wanted = Retention(days, items)
    count, of = users.would_delete(wanted)
    if dry_run:
        would = {**asdict(wanted), "would_delete": count, "users": of}
        return Result(would, lambda out: out.print(f"{_items_of_users(count, of)} would be deleted"))
    if count:
        note(f"deleting {_items_of_users(count, of)}")
    if forever or wanted != Retention():
        deleted = users.set_retention(wanted)
    kept = users.retention()
    text = f"days: {_limit(kept.days)}, items of a user: {_limit(kept.items)}; {deleted} deleted now"
    return Result({**asdict(kept), "deleted": deleted}, lambda out: out.print(text))


@command(app, "keys")
def keys(store: Store = FOLDER, tenant: Tenant = DEFAULT_TENANT) -> Result:
    """List the keys of the API, without their secrets."""
    opened = open_profiles(store)
    found = [asdict(key) for key in opened.keys(opened.tenant(tenant)).list()]
    rows = [
        (
            key["id"],
            key["label"],
            key["user"] or "",
            key["created"],
            key["revoked"] or "",
            _limit(key["limits"]["requests_per_minute"], "serve's default"),
            _limit(key["limits"]["concurrent_requests"], "serve's default"),
        )
        for key in found
    ]
    columns = ("key", "label", "user", "created", "revoked", "per minute", "at once")
    empty = "there are no keys: personakit users create-key makes one"
    return Result(found, lambda out: table(out, columns, rows, empty=empty))


@command(app, "create-key")
def create_key(
    label: Annotated[str, typer.Option("--label", metavar="TEXT", help="What the key is for.")] = "",
    user: OptionalUser = None,
    rate: Annotated[
        int | None,
        typer.Option("--rate", metavar="N", min=1, max=10**9, help="At most this many requests a minute."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", metavar="N", min=1, max=10**9, help="At most this many at once."),
    ] = None,
    store: Store = FOLDER,
    tenant: Tenant = DEFAULT_TENANT,
) -> Result:
    """Make a key of the API and print it, once: only a hash is stored.

    A running service notices it at once.
    """
    require_packages()
    from personakit.serving.store import KeyLimits, check_label

    check_label(label)
    opened = open_profiles(store, create=user is None)
    users = opened.tenant(tenant, create=user is None)
    number, secret = opened.keys(users).create(label, user=user, limits=KeyLimits(rate, concurrency))
    note(f"key {number} is shown once; personakit users revoke-key {number} ends it")
    return Result({"key": number, "secret": secret, "user": user}, lambda out: out.print(secret))


@command(app, "revoke-key")
def revoke_key(
    key: Annotated[int, typer.Argument(metavar="KEY", help="The key's number (personakit users keys).")],
    store: Store = FOLDER,
    tenant: Tenant = DEFAULT_TENANT,
) -> Result:
    """Revoke a key of the API."""
    opened = open_profiles(store)
    opened.keys(opened.tenant(tenant)).revoke(key)
    return Result({"revoked": key}, lambda out: out.print(f"key {key} is revoked"))


@command(app, "rotate-master-key")
def rotate_master_key(store: Store = FOLDER) -> Result:
    """Encrypt all users' keys with a new master key. If it was interrupted, repeat it."""
    require_packages()
    from personakit.serving.store import rotate_master_key

    count = rotate_master_key(store)
    done = (
        f"{count} users' keys have the new master key"
        if count
        else "the store has the new master key already"
    )
    return Result({"users": count}, lambda out: out.print(done))


def _limit(value: Any, none: str = "no limit") -> str:
    return none if value is None else f"{value:g}"


def _items_of_users(items: int, users: int) -> str:
    from personakit.data.skips import counted

    return f"{counted(items, 'items')} of {counted(users, 'users')}"
