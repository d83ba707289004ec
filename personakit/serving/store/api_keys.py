"""The API keys of one tenant. Only a hash of a key is stored."""

from __future__ import annotations

import secrets
import time
from dataclasses import asdict

from sqlalchemy import insert, select, update

from personakit.errors import UserError
from personakit.serving.store.database import Database
from personakit.serving.store.encryption import secret_hash
from personakit.serving.store.records import ApiKey, KeyLimits, UnknownError, moment
from personakit.serving.store.tables import LONGEST_LABEL, api_keys
from personakit.serving.store.tenant import TenantStore


def check_label(label: str) -> None:
    """Raise `UserError` for a label of a key that is too long."""
    if len(label) > LONGEST_LABEL:
        raise UserError(
            f"the label has {len(label)} characters, expected at most {LONGEST_LABEL}",
            hint="choose a shorter one",
        )


class TenantKeys:
    """Makes, lists and revokes the keys of a tenant."""

    def __init__(self, profiles: Database, store: TenantStore) -> None:
        """Use `ProfileStore.keys` instead."""
        self._profiles = profiles
        self._store = store

    def create(
        self, label: str = "", *, user: str | None = None, limits: KeyLimits | None = None
    ) -> tuple[int, str]:
        """Make a key of the tenant, or of `user`. Return its number and secret.

        The secret is not stored: it cannot be had again. Raises `UnknownError` if there is no such user, and
        `UserError` for a long label.
        """
        check_label(label)
        bound = None if user is None else self._store.number_of(user)
        secret = f"pk-{secrets.token_urlsafe(32)}"
        row = {
            "tenant_id": self._store.id,
            "user_id": bound,
            "hash": secret_hash(secret),
            "label": label,
            "created": time.time(),
            **asdict(limits or KeyLimits()),
        }
        with self._profiles.writing() as connection:
            made = connection.execute(insert(api_keys).values(row).returning(api_keys.c.id))
            return int(made.scalar_one()), secret

    def list(self) -> list[ApiKey]:
        """Return the tenant's keys, revoked ones too, oldest first."""
        wanted = select(api_keys).where(api_keys.c.tenant_id == self._store.id).order_by(api_keys.c.id)
        with self._profiles.reading() as connection:
            rows = connection.execute(wanted).all()
        return [
            ApiKey(
                row.id,
                row.label,
                None if row.user_id is None else self._store.name_of(row.user_id),
                moment(row.created),
                None if row.revoked is None else moment(row.revoked),
                KeyLimits(row.requests_per_minute, row.concurrent_requests),
            )
            for row in rows
        ]

    def revoke(self, number: int) -> None:
        """Revoke a key; raises `UnknownError` if the tenant has no valid key of that number."""
        valid = (
            api_keys.c.tenant_id == self._store.id,
            api_keys.c.id == number,
            api_keys.c.revoked.is_(None),
        )
        with self._profiles.writing() as connection:
            if not connection.execute(update(api_keys).where(*valid).values(revoked=time.time())).rowcount:
                raise UnknownError(
                    f"there is no valid key {number}", hint="personakit users keys lists the tenant's keys"
                )
