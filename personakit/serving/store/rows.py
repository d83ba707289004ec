"""`UserRows`: the rows of one user, sealed and opened. `TenantStore` makes one when it has found the user."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Column, Connection, Table, delete, func, insert, select, update

from personakit.serving.store.encryption import seal, unseal
from personakit.serving.store.records import (
    Retention,
    StoredEntry,
    StoredSummary,
    StoredUser,
    UnknownError,
    moment,
)
from personakit.serving.store.tables import edits, items, settings, summaries, users

DAY = 86_400.0

#: A new item: its fields, and a date.
NewEntry = tuple[Mapping[str, str], str | None]


@dataclass(frozen=True, slots=True)
class UserRows:
    """A user's rows over a connection. Numbered tables are `items` and `edits`, named ones the others."""

    connection: Connection
    id: int
    name: str
    key: bytes
    created: float
    retention: Retention

    def describe(self) -> StoredUser:
        """Return how much is stored."""
        return described(self.connection, self.id, self.name, self.created)

    def entries(self, table: Table, after: int = 0, limit: int | None = None) -> list[StoredEntry]:
        """Return a numbered table's rows in order, without those that are too old."""
        wanted = select(table).where(table.c.user_id == self.id, table.c.number > after)
        if self.retention.days is not None:
            wanted = wanted.where(table.c.created >= time.time() - self.retention.days * DAY)
        rows = self.connection.execute(wanted.order_by(table.c.number).limit(limit))
        return [
            StoredEntry(row.number, moment(row.created), **self._opened(table, row.number, row.sealed))
            for row in rows
        ]

    def append(self, table: Table, counter: Column[int], new: Sequence[NewEntry]) -> list[int]:
        """Append to a numbered table, keep the newest that retention allows, and return the numbers."""
        count = update(users).where(users.c.id == self.id).values({counter: counter + len(new)})
        last = self.connection.scalar(count.returning(counter)) or 0
        numbers = list(range(last - len(new) + 1, last + 1))
        created = time.time()
        rows = [
            {
                "user_id": self.id,
                "number": number,
                "created": created,
                "sealed": self._sealed(table, number, {"fields": dict(fields), "date": date}),
            }
            for number, (fields, date) in zip(numbers, new, strict=True)
        ]
        self.connection.execute(insert(table), rows)
        if self.retention.items is not None:
            keep_newest(self.connection, table, self.id, self.retention.items)
        return numbers

    def replace_item(self, number: int, fields: Mapping[str, str], date: str | None) -> None:
        """Change an item; raises `UnknownError` if there is none of that number."""
        sealed = self._sealed(items, number, {"fields": dict(fields), "date": date})
        own = items.c.user_id == self.id, items.c.number == number
        self._changed(
            self.connection.execute(update(items).where(*own).values(sealed=sealed)), "item", number
        )

    def delete_item(self, number: int) -> None:
        """Delete an item; raises `UnknownError` if there is none of that number."""
        own = items.c.user_id == self.id, items.c.number == number
        self._changed(self.connection.execute(delete(items).where(*own)), "item", number)

    def settings(self) -> dict[str, Any]:
        """Return the settings."""
        own = select(settings).where(settings.c.user_id == self.id).order_by(settings.c.name)
        rows = self.connection.execute(own)
        return {row.name: self._opened(settings, row.name, row.sealed) for row in rows}

    def summaries(self) -> list[StoredSummary]:
        """Return the summaries."""
        own = select(summaries).where(summaries.c.user_id == self.id).order_by(summaries.c.name)
        return [
            StoredSummary(
                row.name, moment(row.created), self._opened(summaries, row.name, row.sealed), row.edited
            )
            for row in self.connection.execute(own)
        ]

    def put(self, table: Table, name: str, value: Any, **columns: Any) -> None:
        """Set an entry of a named table."""
        self.connection.execute(delete(table).where(table.c.user_id == self.id, table.c.name == name))
        row = {"user_id": self.id, "name": name, "created": time.time(), **columns}
        self.connection.execute(insert(table).values(sealed=self._sealed(table, name, value), **row))

    def delete_summary(self, model: str) -> None:
        """Delete a summary; raises `UnknownError` if there is none of that model."""
        own = summaries.c.user_id == self.id, summaries.c.name == model
        self._changed(self.connection.execute(delete(summaries).where(*own)), "summary of", model)

    def export(self) -> dict[str, Any]:
        """Return everything."""
        return {
            "user": self.name,
            "created": moment(self.created),
            "items": [asdict(entry) for entry in self.entries(items)],
            "edits": [asdict(entry) for entry in self.entries(edits)],
            "summaries": [asdict(summary) for summary in self.summaries()],
            "settings": self.settings(),
        }

    def _changed(self, done: Any, what: str, which: object) -> None:
        if not done.rowcount:
            raise UnknownError(
                f"{self.name!r} has no {what} {which!r}", hint="list the user's entries to see what there is"
            )

    def _sealed(self, table: Table, place: object, value: Any) -> bytes:
        return seal(self.key, json.dumps(value).encode(), self.id, table.name, place)

    def _opened(self, table: Table, place: object, sealed: bytes) -> Any:
        return json.loads(unseal(self.key, sealed, self.id, table.name, place))


def described(connection: Connection, user_id: int, name: str, created: float) -> StoredUser:
    """Return how much is stored about a user."""
    counts = (
        connection.scalar(select(func.count()).select_from(table).where(table.c.user_id == user_id)) or 0
        for table in (items, edits, summaries)
    )
    return StoredUser(name, moment(created), *counts)


def keep_newest(connection: Connection, table: Table, user_id: int, count: int) -> int:
    """Delete a user's rows of a numbered table except the `count` newest; return how many."""
    newest = select(table.c.number).where(table.c.user_id == user_id).order_by(table.c.number.desc())
    beyond = newest.offset(count).limit(1).scalar_subquery()
    rows = delete(table).where(table.c.user_id == user_id, table.c.number <= beyond)
    deleted: int = connection.execute(rows).rowcount
    return deleted
