"""`TenantStore`: everything about the users of one tenant.

Every query about a user looks among this tenant's users only (`_is`, `_USER`), or names the tenant itself.
Nothing else in the package reaches users' rows, so no caller can leave the tenant.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    delete,
    false,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from personakit.serving.store.database import Database
from personakit.serving.store.encryption import seal, unseal
from personakit.serving.store.records import (
    Retention,
    StoredItem,
    StoredProfile,
    StoredSummary,
    StoredUser,
    UnknownError,
    basis_of,
    check_texts,
    checked_name,
)
from personakit.serving.store.rows import (
    DAY,
    NewItem,
    UserRows,
    described,
    forget_inferred,
    item_rows,
    keep_newest,
)
from personakit.serving.store.tables import items, settings, summaries, tenants, users
from personakit.serving.store.vault import Vault

_LOADED_TOGETHER = 500  # users in a transaction
_DELETED_TOGETHER = 500  # items in a transaction
_ATTEMPTS = 5

#: For answers; a statement that is built once takes half the time.
_USER = (
    select(users, tenants.c.keep_days, tenants.c.keep_items)
    .join(tenants)
    .where(users.c.tenant_id == bindparam("tenant"), users.c.lookup == bindparam("lookup"))
)
#: For changes: in PostgreSQL, those of one user wait for each other. SQLite makes all wait.
_USER_LOCKED = _USER.with_for_update(of=users)


class TenantStore:
    """The users of one tenant. Names of users are the tenant's own; two tenants may use the same."""

    def __init__(self, profiles: Database, vault: Vault, tenant_id: int, max_items: int) -> None:
        """Use `ProfileStore.tenant` instead."""
        self._profiles = profiles
        self._vault = vault
        self._max_items = max_items
        self.id = tenant_id

    # Users

    def users(self, *, after: str | None = None, limit: int = 100) -> list[StoredUser]:
        """Return users in a fixed order, from the one after `after` on, who may have been forgotten."""
        begin = b"" if after is None else self._vault.lookup(self.id, after)
        wanted = select(users).where(users.c.tenant_id == self.id, users.c.lookup > begin)
        with self._profiles.reading() as connection:
            rows = connection.execute(wanted.order_by(users.c.lookup).limit(limit)).all()
            keys = self._vault.read([row.key_id for row in rows])
            named = [
                (row.id, _name(row, keys[row.key_id]), row.created) for row in rows if row.key_id in keys
            ]
            return described(connection, named)

    def user(self, name: str) -> StoredUser:
        """Return a user; raises `UnknownError` if there is none."""
        with self._reading(name) as rows:
            return rows.describe()

    def exists(self, name: str) -> bool:
        """Return whether there is such a user."""
        with self._profiles.reading() as connection:
            return self._found(connection, name) is not None

    def name_of(self, user_id: int) -> str | None:
        """Return the name of this tenant's user with that number."""
        wanted = select(users).where(users.c.tenant_id == self.id, users.c.id == user_id)
        with self._profiles.reading() as connection:
            row = connection.execute(wanted).one_or_none()
        keys = {} if row is None else self._vault.read([row.key_id])
        return None if row is None or row.key_id not in keys else _name(row, keys[row.key_id])

    def number_of(self, name: str) -> int:
        """Return the number of a user; raises `UnknownError` if there is no such user."""
        with self._reading(name) as rows:
            return rows.id

    def create(self, name: str) -> None:
        """Make a user without items, if there is none."""
        checked_name(name)
        if self.exists(name):
            return
        [(key_id, key)] = self._vault.create()
        try:
            with self._profiles.writing() as connection:
                # A row without a key is of a user whose forgetting was interrupted.
                if self._found(connection, name) is None:
                    connection.execute(delete(users).where(*self._is(name)))
                    connection.execute(insert(users).values(self._row(name, key_id, key)))
                    return
        except IntegrityError:  # another process was first
            pass
        self._vault.destroy(key_id)

    def forget(self, name: str) -> None:
        """Destroy the user's key, then delete the user's rows and keys of the API that are bound to the user.

        Raises `UnknownError` if there is no such user.
        """
        checked_name(name)
        with self._profiles.reading() as connection:
            row = connection.execute(select(users).where(*self._is(name))).one_or_none()
        if row is None:
            raise _unknown_user(name)
        self._vault.destroy(row.key_id)
        with self._profiles.writing() as connection:
            connection.execute(delete(users).where(*self._is(name), users.c.id == row.id))

    def export(self, name: str) -> dict[str, Any]:
        """Return all that is stored about a user, as a JSON document."""
        with self._reading(name) as rows:
            return rows.export()

    # Items

    def append(self, name: str, new: Sequence[NewItem]) -> list[int]:
        """Append items (fields and a date), make the user if there is none, and return the items' numbers.

        Only the newest items are kept that the tenant's retention allows. Raises `UserError` above the limits
        of items per user and of a text.
        """
        for place, (fields, _) in enumerate(new, start=1):
            check_texts(fields, f"item {place}")
        with self._writing(name, create=True) as rows:
            return rows.append(new, self._max_items) if new else []

    def load(self, histories: Iterable[tuple[str, Sequence[NewItem]]]) -> int:
        """Make many users with their items, several in a transaction; return how many were made.

        Users that are there stay as they are, so that a load that was interrupted can be repeated.
        Retention by age is applied later (`apply_retention`).
        """
        made, remaining = 0, iter(histories)
        while some := dict(islice(remaining, _LOADED_TOGETHER)):
            hashes = {self._vault.lookup(self.id, checked_name(name)): name for name in some}
            with self._profiles.reading() as connection:
                there = select(users.c.lookup).where(users.c.tenant_id == self.id, users.c.lookup.in_(hashes))
                for hash in connection.scalars(there):
                    del some[hashes[hash]]
            if not some:
                continue
            keys = self._vault.create(len(some))
            rows = [
                {**self._row(name, *key), "last_item": len(new)}
                for (name, new), key in zip(some.items(), keys, strict=True)
            ]
            with self._profiles.writing() as connection:
                inserted = insert(users).returning(users.c.id, sort_by_parameter_order=True)
                ids = connection.scalars(inserted, rows).all()
                new_rows = [
                    row
                    for id, (_, key), new in zip(ids, keys, some.values(), strict=True)
                    for row in item_rows(id, key, new)
                ]
                if new_rows:
                    connection.execute(insert(items), new_rows)
            made += len(some)
        self._keep_newest()
        return made

    def items(self, name: str, *, after: int = 0, limit: int | None = None) -> list[StoredItem]:
        """Return a user's items, oldest first; raises `UnknownError` if there is no such user."""
        with self._reading(name) as rows:
            return rows.items(after, limit)

    def profile(self, name: str, *, summary_of: str | None = None) -> StoredProfile:
        """Return a user's newest items, settings, and a model's summary, empty if there is no such user."""
        with self._profiles.reading() as connection:
            rows = self._found(connection, checked_name(name))
            if rows is None:
                return StoredProfile(known=False)
            summary = None if summary_of is None else rows.summary(summary_of)
            return StoredProfile(rows.newest(self._max_items), rows.settings(), summary)

    def replace_item(self, name: str, number: int, fields: Mapping[str, str], date: str | None) -> None:
        """Change an item; raises `UnknownError` if the user has none of that number.

        Raises `UserError` for a text that is too long.
        """
        check_texts(fields, f"item {number}")
        with self._writing(name) as rows:
            rows.replace_item(number, fields, date)

    def delete_item(self, name: str, number: int) -> None:
        """Delete an item; raises `UnknownError` if the user has none of that number."""
        with self._writing(name) as rows:
            rows.delete_item(number)

    # Summaries and settings

    def summaries(self, name: str) -> list[StoredSummary]:
        """Return a user's summaries."""
        with self._reading(name) as rows:
            return rows.summaries()

    def put_summary(self, name: str, model: str, text: str) -> None:
        """Set the summary for a model by hand; makes the user if there is none."""
        checked_name(model, "model")
        check_texts({"text": text}, "the summary")
        with self._writing(name, create=True) as rows:
            rows.put_summary(model, text)

    def keep_summary(self, name: str, model: str, text: str, *, basis: str, version: str) -> bool:
        """Keep a summary that a model of that version inferred; return whether it was kept.

        It is not if the user's items are others by now (`basis_of`), or the user has written a summary.
        Raises `UnknownError` if the user was forgotten.
        """
        with self._writing(name) as rows:
            written = rows.summary(model)
            items_now = rows.newest(self._max_items)
            if basis_of(items_now, version) != basis or (written is not None and written.edited):
                return False
            rows.put_summary(model, text, basis)
            return True

    def delete_summary(self, name: str, model: str) -> None:
        """Delete a summary; raises `UnknownError` if there is none."""
        with self._writing(name) as rows:
            rows.delete_summary(model)

    def settings(self, name: str) -> dict[str, Any]:
        """Return a user's settings."""
        with self._reading(name) as rows:
            return rows.settings()

    def put_setting(self, name: str, setting: str, value: Any) -> None:
        """Set a setting to a JSON value; makes the user if there is none."""
        with self._writing(name, create=True) as rows:
            rows.put(settings, setting, value)

    # Retention

    def retention(self) -> Retention:
        """Return how long this tenant keeps items."""
        with self._profiles.reading() as connection:
            row = connection.execute(select(tenants).where(tenants.c.id == self.id)).one()
        return Retention(row.keep_days, row.keep_items)

    def would_delete(self, retention: Retention) -> tuple[int, int]:
        """Return how many items `set_retention` would delete, and of how many users."""
        place = func.row_number().over(partition_by=items.c.user_id, order_by=items.c.number.desc())
        own = (
            select(items.c.user_id, items.c.created, place.label("place"))
            .join(users)
            .where(users.c.tenant_id == self.id)
            .subquery()
        )
        too_many = false() if retention.items is None else own.c.place > retention.items
        too_old = false() if retention.days is None else own.c.created < time.time() - retention.days * DAY
        counts = select(func.count(), func.count(own.c.user_id.distinct())).where(too_many | too_old)
        with self._profiles.reading() as connection:
            count, of = connection.execute(counts).one()
        return count, of

    def set_retention(self, retention: Retention) -> int:
        """Set how long items are kept, delete the others, and return their number."""
        with self._profiles.writing() as connection:
            connection.execute(
                update(tenants)
                .where(tenants.c.id == self.id)
                .values(keep_days=retention.days, keep_items=retention.items)
            )
        return self._keep_newest() + self.apply_retention()

    def apply_retention(self) -> int:
        """Delete the items that are too old, and return their number. `append` deletes those beyond a count.

        The index of items by time is read, and few items are deleted at once, so that others can write.
        """
        kept, deleted, begin = self.retention(), 0, 0.0
        if kept.days is None:
            return 0
        end = time.time() - kept.days * DAY
        while True:
            # + 0: SQLite begins with the index by time, and not with all users of the tenant.
            old = items.c.created >= begin, items.c.created < end, users.c.tenant_id + 0 == self.id
            wanted = select(items.c.user_id, items.c.number, items.c.created).join(users).where(*old)
            with self._profiles.reading() as connection:
                found = connection.execute(wanted.order_by(items.c.created).limit(_DELETED_TOGETHER)).all()
            if not found:
                return deleted
            begin = found[-1].created
            these = tuple_(items.c.user_id, items.c.number).in_([(row.user_id, row.number) for row in found])
            with self._profiles.writing() as connection:
                deleted += connection.execute(delete(items).where(these)).rowcount
                forget_inferred(connection, summaries.c.user_id.in_({row.user_id for row in found}))

    def _keep_newest(self) -> int:
        """Delete the items beyond the count that is kept of each user, and return their number."""
        count, deleted = self.retention().items, 0
        if count is None:
            return 0
        many = select(items.c.user_id).join(users).where(users.c.tenant_id == self.id)
        with self._profiles.reading() as connection:
            ids = connection.scalars(many.group_by(items.c.user_id).having(func.count() > count)).all()
        for user_id in ids:
            with self._profiles.writing() as connection:
                deleted += keep_newest(connection, user_id, count)
        return deleted

    # What every query about a user begins with

    def _is(self, name: str) -> tuple[ColumnElement[bool], ...]:
        """Return the condition that a row of `users` is this tenant's user of that name."""
        return users.c.tenant_id == self.id, users.c.lookup == self._vault.lookup(self.id, name)

    def _row(self, name: str, key_id: bytes, key: bytes) -> dict[str, Any]:
        """Return the row of a new user."""
        return {
            "tenant_id": self.id,
            "lookup": self._vault.lookup(self.id, name),
            "key_id": key_id,
            "name": seal(key, name.encode(), key_id.hex()),
            "created": time.time(),
            "last_item": 0,
        }

    def _found(self, connection: Connection, name: str, *, lock: bool = False) -> UserRows | None:
        who = {"tenant": self.id, "lookup": self._vault.lookup(self.id, name)}
        row = connection.execute(_USER_LOCKED if lock else _USER, who).one_or_none()
        keys = {} if row is None else self._vault.read([row.key_id])
        if row is None or row.key_id not in keys:
            return None
        retention = Retention(row.keep_days, row.keep_items)
        return UserRows(connection, row.id, name, keys[row.key_id], row.created, retention)

    def _find(self, connection: Connection, name: str) -> UserRows:
        rows = self._found(connection, checked_name(name))
        if rows is None:
            raise _unknown_user(name)
        return rows

    @contextmanager
    def _reading(self, name: str) -> Iterator[UserRows]:
        """Yield a user's rows; raises `UnknownError` if there is no such user."""
        with self._profiles.reading() as connection:
            yield self._find(connection, name)

    @contextmanager
    def _writing(self, name: str, *, create: bool = False) -> Iterator[UserRows]:
        """Yield a user's rows, whose changes are kept together; with `create`, a new user is made."""
        checked_name(name)
        for _ in range(_ATTEMPTS if create else 1):  # the user may be forgotten between the two steps
            if create:
                self.create(name)
            with self._profiles.writing() as connection:
                rows = self._found(connection, name, lock=True)
                if rows is not None:
                    yield rows
                    return
        raise _unknown_user(name)


def _name(row: Row[Any], key: bytes) -> str:
    return unseal(key, row.name, row.key_id.hex()).decode()


def _unknown_user(name: str) -> UnknownError:
    return UnknownError(
        f"there is no user {name!r}",
        hint="the first text makes a user: personakit users add, or POST /v1/users/USER/items",
    )
