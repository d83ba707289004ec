"""The keys of users: made, read and destroyed here only."""

from __future__ import annotations

import hashlib
import hmac
import os

from sqlalchemy import bindparam, delete, insert, select

from personakit.serving.store.database import Database
from personakit.serving.store.encryption import new_key, seal, unseal
from personakit.serving.store.tables import user_keys

_KEYS = select(user_keys).where(user_keys.c.id.in_(bindparam("ids", expanding=True)))


class Vault:
    """The table of users' keys, each sealed by the master key. Nothing is cached: a destroyed key is gone."""

    def __init__(self, database: Database, master: bytes, lookup: bytes) -> None:
        """`lookup` is the key of the hashes by which users are found."""
        self._database = database
        self._master = master
        self._lookup = lookup

    def lookup(self, tenant_id: int, user: str) -> bytes:
        """Return the keyed hash of a tenant's user."""
        return hmac.digest(
            self._lookup, f"{tenant_id}\0{user}".encode("utf-8", "surrogatepass"), hashlib.sha256
        )

    def create(self, count: int = 1) -> list[tuple[bytes, bytes]]:
        """Make keys; return their ids and the keys."""
        made = [(os.urandom(16), new_key()) for _ in range(count)]
        rows = [{"id": id, "sealed": seal(self._master, key, id.hex())} for id, key in made]
        with self._database.writing() as connection:
            connection.execute(insert(user_keys), rows)
        return made

    def read(self, ids: list[bytes]) -> dict[bytes, bytes]:
        """Return keys by their ids; those that were destroyed are not in the result."""
        with self._database.reading() as connection:
            rows = connection.execute(_KEYS, {"ids": ids}).all()
        return {row.id: unseal(self._master, row.sealed, row.id.hex()) for row in rows}

    def destroy(self, id: bytes) -> None:
        """Delete a key: what it sealed is unreadable from then on, in backups and logs, too."""
        with self._database.writing() as connection:
            connection.execute(delete(user_keys).where(user_keys.c.id == id))
