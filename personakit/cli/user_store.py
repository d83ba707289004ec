"""What the commands of `personakit users` share: the group, arguments, and how a store is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from personakit.cli.command import group
from personakit.serving import MAX_ITEMS, require_packages

if TYPE_CHECKING:
    from personakit.serving.store import ProfileStore, TenantStore

app = group("users", "Show and change the profiles that the service keeps.")

Tenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help="Whose users they are.")]
User = Annotated[str, typer.Argument(metavar="USER", help="The user's name.")]


def open_profiles(place: str, *, create: bool = False, max_items: int = MAX_ITEMS) -> ProfileStore:
    """Open a store; raises `UserError` if there is none and `create` is false."""
    require_packages()
    from personakit.serving.store import open_store

    return open_store(place, create=create, max_items=max_items)


def open_tenant(place: str, name: str, *, create: bool = False, max_items: int = MAX_ITEMS) -> TenantStore:
    """Return a tenant's users; raises `UserError` if there is none and `create` is false."""
    return open_profiles(place, create=create, max_items=max_items).tenant(name, create=create)
