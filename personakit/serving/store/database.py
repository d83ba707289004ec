"""Opens the store's databases, and brings their tables up to date (Alembic)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic.util.exc import CommandError
from filelock import FileLock
from sqlalchemy import Connection, Engine, bindparam, create_engine, event, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, TimeoutError

from personakit.errors import RunError, UserError
from personakit.serving import FOLDER, STORE_SECONDS
from personakit.serving.store.tables import keys_metadata, secrets, tenants, user_keys, users

KEYS_VARIABLE = "PERSONAKIT_KEYS"
"""Environment variable with the URL of a database for the keys of users, of which no logs are archived."""
_PROFILES = "profiles.sqlite"
_NEXT_USERS = (
    select(users.c.id, users.c.key_id).where(users.c.id > bindparam("last")).order_by(users.c.id).limit(100)
)
_LOCK_NOT_AVAILABLE = "55P03"  # PostgreSQL's, after `lock_timeout`


class StoreBusyError(RunError):
    """The store was waited for longer than `STORE_SECONDS`."""

    def __init__(self) -> None:
        super().__init__(
            f"the profile store is busy: no answer within {STORE_SECONDS:g} seconds",
            hint="try again: a long change, such as a rotation of the master key, may not be done",
        )


class Database:
    """A database with transactions that read or write, over connections of their own: reading never waits.

    SQLite is used with a write-ahead log unless `log` is false, and zeroes deleted content.
    """

    def __init__(self, url: str, *, log: bool = True) -> None:
        sqlite = url.startswith("sqlite")
        # SQLite writes one transaction at a time; in PostgreSQL, more than one of a user wait for each other.
        writers = {"pool_size": 1, "max_overflow": 0} if sqlite else {}
        options = {"pool_pre_ping": not sqlite, "pool_timeout": STORE_SECONDS}
        try:
            self._readers = create_engine(url, **options)
            self._writers = create_engine(url, **options, **writers)
        except (ArgumentError, NoSuchModuleError) as error:
            raise UserError(
                f'profile store "{shown(url)}": {error}',
                hint="give a folder, or an address such as postgresql+psycopg://USER@HOST/NAME",
            ) from error
        except ModuleNotFoundError as error:
            raise UserError(
                f'profile store "{shown(url)}" needs the package {error.name}',
                hint='pip install "personakit[postgres]"',
            ) from error
        if sqlite:
            # A writer asks for the lock at the beginning: a reader cannot wait to become a writer.
            _use_sqlite(self._readers, log=log, begin="BEGIN")
            _use_sqlite(self._writers, log=log, begin="BEGIN IMMEDIATE")
        else:
            event.listen(self._writers, "begin", _limit_waits)

    def tables(self) -> set[str]:
        """Return the names of its tables: none of a file that is not there, which is not made."""
        url = self._readers.url
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
            return set()
        with self.reading() as connection:
            return set(inspect(connection).get_table_names())

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection that sees one state of the database; raises `StoreBusyError`."""
        with _busy_errors(), self._readers.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection whose changes are kept together when the block ends without an error.

        Raises `StoreBusyError`.
        """
        with _busy_errors(), self._writers.begin() as connection:
            yield connection


def open_databases(place: str, *, create: bool = True) -> tuple[Database, Database, Path]:
    """Return the databases of profiles and of keys, and the master key's folder.

    `place` is a folder with SQLite files, or a database's URL. Keys are in a file of their own in the folder,
    in the same database, or in that of `PERSONAKIT_KEYS`. Raises `UserError` if one cannot be used.
    """
    if "://" in place:
        if place.startswith("sqlite"):
            raise UserError(
                f'profile store "{place}", expected a folder for SQLite', hint="give the folder alone"
            )
        _check_url(place)
        folder, profiles_url, keys_url = Path(FOLDER), place, place
    else:
        folder = Path(place).expanduser().absolute()
        if not create and not has_store(place):
            raise UserError(
                f"{place}: no profile store (it has no {_PROFILES})",
                hint="name one with --store; `users add` makes it",
            )
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        profiles_url, keys_url = (f"sqlite:///{folder / name}" for name in (_PROFILES, "keys.sqlite"))
    if elsewhere := os.environ.get(KEYS_VARIABLE):
        if not elsewhere.startswith("sqlite"):
            _check_url(elsewhere)
        keys_url = elsewhere
    # Two pools even for one database: who holds a connection to the profiles may wait for one to the keys.
    # Keys have no write-ahead log: a deleted key must not remain in one.
    profiles, keys = Database(profiles_url), Database(keys_url, log=False)
    try:
        if "://" in place:
            _upgrade(profiles, keys, shown(keys_url))
        else:
            with FileLock(folder / ".upgrade.lock"):
                _upgrade(profiles, keys, shown(keys_url))
    except CommandError as error:
        raise UserError(
            f'profile store "{shown(place)}": {error}',
            hint="a newer personakit has used it: update this one",
        ) from error
    except DBAPIError as error:
        raise RunError(
            f'profile store "{shown(place)}" cannot be opened: {" ".join(str(error.orig).split())}',
            hint="check the address and that the database runs",
        ) from error
    return profiles, keys, folder


def has_store(place: str) -> bool:
    """Return whether a folder has a store; of a database's URL it is not known before it is opened."""
    return "://" in place or (Path(place).expanduser() / _PROFILES).is_file()


def keys_are_apart(place: str) -> bool:
    """Return whether the keys of users are outside the database with the users' texts."""
    return "://" not in place or bool(os.environ.get(KEYS_VARIABLE))


def _upgrade(profiles: Database, keys: Database, keys_place: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "personakit.serving.store:migrations")
    with profiles.writing() as connection:
        if connection.dialect.name == "postgresql":  # other machines may start at the same time
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7305)")
        there = keys.tables()
        if _keys_are_lost(connection, keys, there):
            raise UserError(
                f"{keys_place.removeprefix('sqlite:///')}: expected the keys of this profile store's users, "
                "there are none",
                hint=f"restore them, without which no text can be read, or name them with {KEYS_VARIABLE}",
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        # Only if need be: a rotation of the master key lets nobody else write.
        if not there.issuperset(keys_metadata.tables):
            with keys.writing() as other:
                keys_metadata.create_all(other)


def _keys_are_lost(connection: Connection, keys: Database, there: set[str]) -> bool:
    """Return whether `keys`, with the tables `there`, has no key of any user of the profiles.

    A user without a key is not an error where no other is there: its forgetting was interrupted.
    """
    if not inspect(connection).has_table(tenants.name):
        return False
    if not there.issuperset(keys_metadata.tables):
        return True
    count, last = 0, 0
    with keys.reading() as other:
        # Mostly one round: it goes on only where the first users were all forgotten since a backup.
        while rows := connection.execute(_NEXT_USERS, {"last": last}).all():
            wanted = user_keys.c.id.in_([row.key_id for row in rows])
            if other.execute(select(user_keys.c.id).where(wanted).limit(1)).first() is not None:
                return False
            count, last = count + len(rows), rows[-1].id
        emptied = other.execute(select(secrets.c.name)).first() is None
        of_others = other.execute(select(user_keys.c.id).limit(1)).first() is not None
    return count > 1 or (count == 1 and (emptied or of_others))


@contextmanager
def _busy_errors() -> Iterator[None]:
    """Raise `StoreBusyError` for a database's own error about a wait for a lock or a connection."""
    try:
        yield
    except TimeoutError as error:  # no connection
        raise StoreBusyError from error
    except DBAPIError as error:
        state, code = getattr(error.orig, "sqlstate", ""), getattr(error.orig, "sqlite_errorcode", 0)
        if state == _LOCK_NOT_AVAILABLE or code & 0xFF == sqlite3.SQLITE_BUSY:
            raise StoreBusyError from error
        raise


def _limit_waits(connection: Connection) -> None:
    """Limit PostgreSQL's waits in this transaction alone: poolers give connections to others after it."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(1000 * STORE_SECONDS)}")


def _use_sqlite(engine: Engine, *, log: bool, begin: str) -> None:
    def connect(connection: Any, record: object) -> None:
        connection.isolation_level = None  # `begins` below begins transactions
        for pragma in (
            f"busy_timeout={int(1000 * STORE_SECONDS)}",
            f"journal_mode={'WAL' if log else 'TRUNCATE'}",
            "synchronous=FULL",  # what was acknowledged survives a power failure
            "foreign_keys=ON",
            "secure_delete=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    def begins(connection: Connection) -> None:
        raw: Any = connection.connection.dbapi_connection
        if begin == "BEGIN":  # it cannot fail, and this way takes less time
            raw.execute(begin)
        else:
            connection.exec_driver_sql(begin)

    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", begins)


def _check_url(url: str) -> None:
    """Raise `UserError` for a database that is not PostgreSQL."""
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] != "postgresql":
        name = (
            f"postgresql+psycopg://{rest}" if scheme == "postgres" else "postgresql+psycopg://USER@HOST/NAME"
        )
        raise UserError(
            f'profile store "{shown(url)}" begins with {scheme}://, expected a folder or postgresql+psycopg://',
            hint=f"write {shown(name)}",
        )


def shown(place: str) -> str:
    """Return a folder or a URL without its password."""
    if "://" not in place:
        return place
    try:
        return str(make_url(place).render_as_string(hide_password=True))
    except ArgumentError:
        return place.rpartition("@")[2]
