"""`TenantStore`: everything about the users of one tenant.

Every query about a user begins with `_find`, which looks among this tenant's users only, or names the tenant
itself. Nothing else in the package touches the tables of users, so no caller can leave the tenant.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, Table, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from personakit.serving.store.database import Database
from personakit.serving.store.encryption import seal, unseal
from personakit.serving.store.records import (
    Retention,
    StoredEntry,
    StoredSummary,
    StoredUser,
    UnknownError,
    checked_name,
    moment,
)
from personakit.serving.store.tables import edits, items, settings, summaries, tenants, users
from personakit.serving.store.vault import Vault

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class _FoundUser:
    id: int
    key: bytes
    created: float
    retention: Retention


class TenantStore:
    """The users of one tenant. Names of users are the tenant's own; two tenants may use the same."""

    def __init__(self, profiles: Database, vault: Vault, tenant_id: int) -> None:
        """Use `ProfileStore.tenant` instead."""
        self._profiles = profiles
        self._vault = vault
        self.id = tenant_id

    # Users

    def users(self, *, after: str | None = None, limit: int = 100) -> list[StoredUser]:
        """Return users in the order of their first appearance, from the one behind `after` on."""
        with self._profiles.reading() as connection:
            begin = 0 if after is None else self._find(connection, after).id
            wanted = select(users).where(users.c.tenant_id == self.id, users.c.id > begin)
            rows = connection.execute(wanted.order_by(users.c.id).limit(limit)).all()
            keys = self._vault.read([row.key_id for row in rows])
            return [
                self._described(connection, row.id, _name(row, keys[row.key_id]), row.created)
                for row in rows
                if row.key_id in keys
            ]

    def user(self, name: str) -> StoredUser:
        """Return a user; raises `UnknownError` if there is none."""
        with self._profiles.reading() as connection:
            found = self._find(connection, name)
            return self._described(connection, found.id, name, found.created)

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
        """Return the number of a user, who is made if there is none."""
        self.create(name)
        with self._profiles.reading() as connection:
            return self._find(connection, name).id

    def create(self, name: str) -> None:
        """Make a user without items, if there is none."""
        checked_name(name)
        if self.exists(name):
            return
        key_id, key = self._vault.create()
        row = {
            "tenant_id": self.id,
            "lookup": self._vault.lookup(self.id, name),
            "key_id": key_id,
            "name": seal(key, name.encode(), key_id.hex()),
            "created": time.time(),
            "last_item": 0,
            "last_edit": 0,
        }
        try:
            with self._profiles.writing() as connection:
                # A row without a key is of a user whose forgetting was interrupted.
                if self._found(connection, name) is None:
                    connection.execute(delete(users).where(*self._is(name)))
                    connection.execute(insert(users).values(row))
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
        with self._profiles.reading() as connection:
            user = self._find(connection, name)
            return {
                "user": name,
                "created": moment(user.created),
                "items": [asdict(entry) for entry in self._entries(connection, items, user)],
                "edits": [asdict(entry) for entry in self._entries(connection, edits, user)],
                "summaries": [asdict(summary) for summary in self._summaries(connection, user)],
                "settings": self._settings(connection, user),
            }

    # Items and edits

    def append(self, name: str, new: Sequence[tuple[Mapping[str, str], str | None]]) -> list[int]:
        """Append items (fields and a date), make the user if there is none, and return the items' numbers.

        Only the newest items are kept that the tenant's retention allows.
        """
        return self._append(name, items, users.c.last_item, new)

    def append_edits(self, name: str, new: Sequence[Mapping[str, str]]) -> list[int]:
        """Append edits of answers: `original` and `revised`."""
        return self._append(name, edits, users.c.last_edit, [(fields, None) for fields in new])

    def items(self, name: str, *, after: int = 0, limit: int | None = None) -> list[StoredEntry]:
        """Return a user's items, oldest first; raises `UnknownError` if there is no such user."""
        with self._profiles.reading() as connection:
            return self._entries(connection, items, self._find(connection, name), after, limit)

    def profile(self, name: str) -> tuple[list[StoredEntry], dict[str, Any]]:
        """Return a user's items and settings, empty if there is no such user: what an answer needs."""
        with self._profiles.reading() as connection:
            user = self._found(connection, checked_name(name))
            if user is None:
                return [], {}
            return self._entries(connection, items, user), self._settings(connection, user)

    def edits(self, name: str, *, after: int = 0, limit: int | None = None) -> list[StoredEntry]:
        """Return a user's edits, oldest first."""
        with self._profiles.reading() as connection:
            return self._entries(connection, edits, self._find(connection, name), after, limit)

    def replace_item(self, name: str, number: int, fields: Mapping[str, str], date: str | None) -> None:
        """Change an item; raises `UnknownError` if the user has none of that number."""
        with self._profiles.writing() as connection:
            user = self._find(connection, name)
            sealed = _sealed(user, items, number, {"fields": dict(fields), "date": date})
            _changed(
                connection.execute(
                    update(items)
                    .where(items.c.user_id == user.id, items.c.number == number)
                    .values(sealed=sealed)
                ).rowcount,
                f"{name!r} has no item {number}",
            )

    def delete_item(self, name: str, number: int) -> None:
        """Delete an item; raises `UnknownError` if the user has none of that number."""
        with self._profiles.writing() as connection:
            user = self._find(connection, name)
            _changed(
                connection.execute(
                    delete(items).where(items.c.user_id == user.id, items.c.number == number)
                ).rowcount,
                f"{name!r} has no item {number}",
            )

    # Summaries and settings

    def summaries(self, name: str) -> list[StoredSummary]:
        """Return a user's summaries."""
        with self._profiles.reading() as connection:
            return self._summaries(connection, self._find(connection, name))

    def put_summary(self, name: str, model: str, text: str, *, edited: bool) -> None:
        """Set the summary of a user by a model; makes the user if there is none."""
        self._put(name, summaries, checked_name(model, "model"), text, edited=edited)

    def delete_summary(self, name: str, model: str) -> None:
        """Delete a summary; raises `UnknownError` if there is none."""
        with self._profiles.writing() as connection:
            user = self._find(connection, name)
            _changed(
                connection.execute(
                    delete(summaries).where(summaries.c.user_id == user.id, summaries.c.name == model)
                ).rowcount,
                f"{name!r} has no summary of {model!r}",
            )

    def settings(self, name: str) -> dict[str, Any]:
        """Return a user's settings."""
        with self._profiles.reading() as connection:
            return self._settings(connection, self._find(connection, name))

    def put_setting(self, name: str, setting: str, value: Any) -> None:
        """Set a setting to a JSON value; makes the user if there is none."""
        self._put(name, settings, setting, value)

    # Retention

    def retention(self) -> Retention:
        """Return how long this tenant keeps items and edits."""
        with self._profiles.reading() as connection:
            row = connection.execute(select(tenants).where(tenants.c.id == self.id)).one()
        return Retention(row.keep_days, row.keep_items)

    def set_retention(self, retention: Retention) -> int:
        """Set how long items and edits are kept, delete the others, and return their number."""
        with self._profiles.writing() as connection:
            connection.execute(
                update(tenants)
                .where(tenants.c.id == self.id)
                .values(keep_days=retention.days, keep_items=retention.items)
            )
        return self.apply_retention()

    def apply_retention(self) -> int:
        """Delete the items and edits that are too old or too many, and return their number."""
        kept, deleted = self.retention(), 0
        own = select(users.c.id).where(users.c.tenant_id == self.id)
        for table in (items, edits):
            with self._profiles.writing() as connection:
                if kept.days is not None:
                    old = table.c.created < time.time() - kept.days * _DAY
                    deleted += connection.execute(delete(table).where(table.c.user_id.in_(own), old)).rowcount
                if kept.items is not None:
                    many = select(table.c.user_id).where(table.c.user_id.in_(own)).group_by(table.c.user_id)
                    for user_id in connection.scalars(many.having(func.count() > kept.items)).all():
                        deleted += _keep_newest(connection, table, user_id, kept.items)
        return deleted

    # What every query about a user begins with

    def _is(self, name: str) -> tuple[ColumnElement[bool], ...]:
        """Return the condition that a row of `users` is this tenant's user of that name."""
        return users.c.tenant_id == self.id, users.c.lookup == self._vault.lookup(self.id, name)

    def _found(self, connection: Connection, name: str) -> _FoundUser | None:
        wanted = select(users, tenants.c.keep_days, tenants.c.keep_items).join(tenants).where(*self._is(name))
        row = connection.execute(wanted).one_or_none()
        keys = {} if row is None else self._vault.read([row.key_id])
        if row is None or row.key_id not in keys:
            return None
        return _FoundUser(row.id, keys[row.key_id], row.created, Retention(row.keep_days, row.keep_items))

    def _find(self, connection: Connection, name: str) -> _FoundUser:
        user = self._found(connection, checked_name(name))
        if user is None:
            raise _unknown_user(name)
        return user

    # Rows of one user

    def _append(
        self,
        name: str,
        table: Table,
        counter: Column[int],
        new: Sequence[tuple[Mapping[str, str], str | None]],
    ) -> list[int]:
        self.create(name)
        if not new:
            return []
        with self._profiles.writing() as connection:
            user = self._find(connection, name)
            count = update(users).where(users.c.id == user.id).values({counter: counter + len(new)})
            last = connection.scalar(count.returning(counter)) or 0
            numbers = list(range(last - len(new) + 1, last + 1))
            created = time.time()
            rows = [
                {
                    "user_id": user.id,
                    "number": number,
                    "created": created,
                    "sealed": _sealed(user, table, number, {"fields": dict(fields), "date": date}),
                }
                for number, (fields, date) in zip(numbers, new, strict=True)
            ]
            connection.execute(insert(table), rows)
            if user.retention.items is not None:
                _keep_newest(connection, table, user.id, user.retention.items)
        return numbers

    def _put(self, name: str, table: Table, key: str, value: Any, **columns: Any) -> None:
        self.create(name)
        with self._profiles.writing() as connection:
            user = self._find(connection, name)
            connection.execute(delete(table).where(table.c.user_id == user.id, table.c.name == key))
            sealed = _sealed(user, table, key, value)
            connection.execute(
                insert(table).values(user_id=user.id, name=key, created=time.time(), sealed=sealed, **columns)
            )

    def _entries(
        self, connection: Connection, table: Table, user: _FoundUser, after: int = 0, limit: int | None = None
    ) -> list[StoredEntry]:
        wanted = select(table).where(table.c.user_id == user.id, table.c.number > after)
        if user.retention.days is not None:
            wanted = wanted.where(table.c.created >= time.time() - user.retention.days * _DAY)
        rows = connection.execute(wanted.order_by(table.c.number).limit(limit))
        return [
            StoredEntry(row.number, moment(row.created), **_opened(user, table, row.number, row.sealed))
            for row in rows
        ]

    def _summaries(self, connection: Connection, user: _FoundUser) -> list[StoredSummary]:
        rows = connection.execute(
            select(summaries).where(summaries.c.user_id == user.id).order_by(summaries.c.name)
        )
        return [
            StoredSummary(
                row.name, moment(row.created), _opened(user, summaries, row.name, row.sealed), row.edited
            )
            for row in rows
        ]

    def _settings(self, connection: Connection, user: _FoundUser) -> dict[str, Any]:
        rows = connection.execute(
            select(settings).where(settings.c.user_id == user.id).order_by(settings.c.name)
        )
        return {row.name: _opened(user, settings, row.name, row.sealed) for row in rows}

    def _described(self, connection: Connection, user_id: int, name: str, created: float) -> StoredUser:
        counts = (
            connection.scalar(select(func.count()).select_from(table).where(table.c.user_id == user_id)) or 0
            for table in (items, edits, summaries)
        )
        return StoredUser(name, moment(created), *counts)


def _name(row: Row[Any], key: bytes) -> str:
    return unseal(key, row.name, row.key_id.hex()).decode()


def _sealed(user: _FoundUser, table: Table, place: object, value: Any) -> bytes:
    return seal(user.key, json.dumps(value).encode(), user.id, table.name, place)


def _opened(user: _FoundUser, table: Table, place: object, sealed: bytes) -> Any:
    return json.loads(unseal(user.key, sealed, user.id, table.name, place))


def _keep_newest(connection: Connection, table: Table, user_id: int, count: int) -> int:
    """Delete a user's rows except the `count` newest; return how many."""
    newest = select(table.c.number).where(table.c.user_id == user_id).order_by(table.c.number.desc())
    beyond = newest.offset(count).limit(1).scalar_subquery()
    rows = delete(table).where(table.c.user_id == user_id, table.c.number <= beyond)
    deleted: int = connection.execute(rows).rowcount
    return deleted


def _changed(rows: int, otherwise: str) -> None:
    if not rows:
        raise UnknownError(otherwise, hint="list the user's entries to see their numbers and names")


def _unknown_user(name: str) -> UnknownError:
    return UnknownError(f"there is no user {name!r}", hint="a user is made with the first item")
