"""`ProfileStore`: tenants, API keys, and the way to one tenant's users.

Only `TenantStore`, which is bound to a tenant, reads or writes anything of a user.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from personakit.errors import UserError
from personakit.serving import DEFAULT_TENANT, MAX_ITEMS
from personakit.serving.store.api_keys import TenantKeys
from personakit.serving.store.database import Database, open_databases, shown
from personakit.serving.store.encryption import OtherMasterKeyError, secret_hash
from personakit.serving.store.records import KeyLimits, UnknownError, checked_name
from personakit.serving.store.tables import api_keys, tenants
from personakit.serving.store.tenant import TenantStore
from personakit.serving.store.vault import Vault


@dataclass(frozen=True, slots=True)
class Access:
    """Who a request is from: the tenant's store, the key (None: none is needed), and its user, if any."""

    store: TenantStore
    key: int | None = None
    user: str | None = None
    limits: KeyLimits = field(default_factory=KeyLimits)


class ProfileStore:
    """The profiles of all tenants in one database."""

    def __init__(self, profiles: Database, vault: Vault, max_items: int) -> None:
        """Use `open_store` instead."""
        self._profiles = profiles
        self._vault = vault
        self._max_items = max_items

    def check(self) -> None:
        """Raise `SQLAlchemyError` if a database cannot be reached."""
        with self._profiles.reading() as connection:
            connection.execute(select(1))
        self._vault.read([])

    def tenant(self, name: str = DEFAULT_TENANT, *, create: bool = False) -> TenantStore:
        """Return a tenant's store; raises `UnknownError` if there is none and `create` is false."""
        wanted = select(tenants.c.id).where(tenants.c.name == checked_name(name, "tenant"))
        with self._profiles.reading() as connection:
            found = connection.scalar(wanted)
        if found is None and create:
            try:
                with self._profiles.writing() as connection:
                    connection.execute(insert(tenants).values(name=name, created=time.time()))
            except IntegrityError:  # another process was first
                pass
            with self._profiles.reading() as connection:
                found = connection.scalar(wanted)
        if found is None:
            raise UnknownError(
                f'there is no tenant "{name}"',
                hint=f'personakit users add or create-key with --tenant "{name}" makes it',
            )
        return self._of(found)

    def keys(self, store: TenantStore) -> TenantKeys:
        """Return the keys of a tenant."""
        return TenantKeys(self._profiles, store)

    def has_keys(self) -> bool:
        """Return whether any key is valid."""
        with self._profiles.reading() as connection:
            return (
                connection.scalar(select(api_keys.c.id).where(api_keys.c.revoked.is_(None)).limit(1))
                is not None
            )

    def authenticate(self, secret: str) -> Access | None:
        """Return the access of a key; None if it is unknown or revoked."""
        wanted = select(api_keys).where(api_keys.c.hash == secret_hash(secret), api_keys.c.revoked.is_(None))
        with self._profiles.reading() as connection:
            row = connection.execute(wanted).one_or_none()
        if row is None:
            return None
        store = self._of(row.tenant_id)
        user = None if row.user_id is None else store.name_of(row.user_id)
        if row.user_id is not None and user is None:  # forgotten between the two reads
            return None
        return Access(store, row.id, user, KeyLimits(row.requests_per_minute, row.concurrent_requests))

    def apply_retention(self) -> int:
        """Delete what is older than tenants keep it; return the number of items."""
        with self._profiles.reading() as connection:
            ids = connection.scalars(select(tenants.c.id)).all()
        return sum(self._of(tenant_id).apply_retention() for tenant_id in ids)

    def _of(self, tenant_id: int) -> TenantStore:
        return TenantStore(self._profiles, self._vault, tenant_id, self._max_items)


def open_store(place: str, *, create: bool = True, max_items: int = MAX_ITEMS) -> ProfileStore:
    """Open a store: a folder, or a database's URL. With `create`, a folder without one gets one.

    A user has at most `max_items` items, and an answer reads the newest of them.

    The master key is in the environment (PERSONAKIT_MASTER_KEY) or in the folder (`profiles` for a URL); a
    new store makes one. Raises `UserError` if the store cannot be opened or has another master key.
    """
    profiles, keys, folder = open_databases(place, create=create)
    try:
        vault = Vault(keys, folder)
    except OtherMasterKeyError as error:
        raise UserError(f"{shown(place)}: {error.message}", hint=error.hint) from error
    return ProfileStore(profiles, vault, max_items)
