"""The keys of users: made, read, sealed by another master key, and destroyed here only."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
from pathlib import Path

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from personakit.errors import UserError
from personakit.serving.store.database import Database
from personakit.serving.store.encryption import (
    OtherMasterKeyError,
    UnreadableError,
    master_keys,
    new_key,
    seal,
    unseal,
)
from personakit.serving.store.tables import secrets, user_keys

_KEYS = select(user_keys).where(user_keys.c.id.in_(bindparam("ids", expanding=True)))
_LOOKUP = select(secrets.c.sealed).where(secrets.c.name == "lookup")
_NEXT_KEYS = select(user_keys).where(user_keys.c.id > bindparam("last")).order_by(user_keys.c.id).limit(5000)


class Vault:
    """The table of users' keys, each sealed by the master key. Nothing is cached: a destroyed key is gone."""

    def __init__(self, database: Database, folder: Path) -> None:
        """Open the table with the master key of the environment or of `folder`; a new store makes one.

        Raises `UserError` if there is no master key, and `OtherMasterKeyError`.
        """
        self._database = database
        self._folder = folder
        # The sealed lookup key, and the master key that opens it. In one field: many threads read and set it.
        self._opened: tuple[bytes, bytes] | None = None
        with database.reading() as connection:
            new = connection.scalar(_LOOKUP) is None
        if new:
            master = master_keys(folder, create=True)[-1]
            sealed = seal(master, new_key(), "lookup")
            # Another process may have been first.
            with contextlib.suppress(IntegrityError), database.writing() as connection:
                connection.execute(insert(secrets).values(name="lookup", sealed=sealed))
        with database.reading() as connection:
            self._read_master(connection.scalar(_LOOKUP) or b"")

    def lookup(self, tenant_id: int, user: str) -> bytes:
        """Return the keyed hash of a tenant's user, by which the user is found."""
        return hmac.digest(
            self._lookup, f"{tenant_id}\0{user}".encode("utf-8", "surrogatepass"), hashlib.sha256
        )

    def create(self, count: int = 1) -> list[tuple[bytes, bytes]]:
        """Make keys; return their ids and the keys."""
        made = [(os.urandom(16), new_key()) for _ in range(count)]
        with self._database.writing() as connection:
            # The master key stays the same until these keys are kept.
            master = self._read_master(connection.scalar(_LOOKUP.with_for_update(read=True)) or b"")
            rows = [{"id": id, "sealed": seal(master, key, id.hex())} for id, key in made]
            connection.execute(insert(user_keys), rows)
        return made

    def read(self, ids: list[bytes]) -> dict[bytes, bytes]:
        """Return keys by their ids; those that were destroyed are not in the result."""
        assert self._opened is not None
        try:
            return self._read(ids, self._opened[1])
        except UnreadableError:  # the master key was changed
            with self._database.reading() as connection:
                master = self._read_master(connection.scalar(_LOOKUP) or b"")
            return self._read(ids, master)

    def destroy(self, id: bytes) -> None:
        """Delete a key: what it sealed is unreadable from then on, in backups and logs, too."""
        with self._database.writing() as connection:
            connection.execute(delete(user_keys).where(user_keys.c.id == id))

    def rotate(self, new: bytes) -> int:
        """Seal all keys with the master key `new`, in one transaction; return their number.

        It is 0 if they are sealed with it already.
        """
        count, last = 0, b""
        changed = update(user_keys).where(user_keys.c.id == bindparam("key"))
        with self._database.writing() as connection:
            _keep_readable(connection)
            master = self._read_master(connection.scalar(_LOOKUP.with_for_update()) or b"")
            if master == new:
                return 0
            while rows := connection.execute(_NEXT_KEYS, {"last": last}).all():
                keys = [(row.id, unseal(master, row.sealed, row.id.hex())) for row in rows]
                sealed = [{"key": id, "sealed": seal(new, key, id.hex())} for id, key in keys]
                connection.execute(changed, sealed)
                count, last = count + len(rows), rows[-1].id
            lookup = seal(new, self._lookup, "lookup")
            connection.execute(update(secrets).where(secrets.c.name == "lookup").values(sealed=lookup))
        return count

    def _read(self, ids: list[bytes], master: bytes) -> dict[bytes, bytes]:
        with self._database.reading() as connection:
            rows = connection.execute(_KEYS, {"ids": ids}).all()
        return {row.id: unseal(master, row.sealed, row.id.hex()) for row in rows}

    def _read_master(self, sealed_lookup: bytes) -> bytes:
        """Return the master key that opens the store now; raises `OtherMasterKeyError`."""
        opened = self._opened
        if opened is not None and opened[0] == sealed_lookup:
            return opened[1]
        try:
            masters = master_keys(self._folder)
        except UserError as error:
            if opened is None:
                raise
            raise OtherMasterKeyError(
                "the master key of the profile store cannot be read", hint=error.hint
            ) from error
        for master in masters:
            with contextlib.suppress(UnreadableError):
                self._lookup = unseal(master, sealed_lookup, "lookup")
                self._opened = sealed_lookup, master
                return master
        raise OtherMasterKeyError(
            "the profile store was made with another master key, or has a new one",
            hint="restore that key (master.key, or PERSONAKIT_MASTER_KEY)",
        )


def _keep_readable(connection: Connection) -> None:
    """Let others read until the transaction ends, however many pages it changes."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA cache_spill=OFF")
