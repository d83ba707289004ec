"""`UserRows`: the rows of one user, sealed and opened. `TenantStore` makes one when it has found the user."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from personakit.errors import UserError
from personakit.serving.store.encryption import seal, unseal
from personakit.serving.store.records import (
    Retention,
    StoredItem,
    StoredSummary,
    StoredUser,
    UnknownError,
    moment,
)
from personakit.serving.store.tables import items, settings, summaries, users

DAY = 86_400.0

#: A new item: its fields, and a date.
NewItem = tuple[Mapping[str, str], str | None]

_ALL = 2**53
#: Statements for answers, built once.
_ITEMS = (
    select(items)
    .where(
        items.c.user_id == bindparam("user"),
        items.c.number > bindparam("after"),
        items.c.created >= bindparam("since"),
    )
    .order_by(items.c.number)
    .limit(bindparam("most", type_=BigInteger))
)
_NEWEST = _ITEMS.order_by(None).order_by(items.c.number.desc())
_SETTINGS = select(settings).where(settings.c.user_id == bindparam("user")).order_by(settings.c.name)
_SUMMARY = select(summaries).where(
    summaries.c.user_id == bindparam("user"), summaries.c.name == bindparam("model")
)


@dataclass(frozen=True, slots=True)
class UserRows:
    """A user's rows over a connection. The tables `summaries` and `settings` have names as keys."""

    connection: Connection
    id: int
    name: str
    key: bytes
    created: float
    retention: Retention

    def describe(self) -> StoredUser:
        """Return how much is stored."""
        [user] = described(self.connection, [(self.id, self.name, self.created)])
        return user

    def items(self, after: int = 0, limit: int | None = None) -> list[StoredItem]:
        """Return the items in order, without those that are too old."""
        return self._read(_ITEMS, after, limit or _ALL)

    def newest(self, count: int) -> list[StoredItem]:
        """Return the `count` newest items in order, without those that are too old."""
        return self._read(_NEWEST, 0, count)[::-1]

    def append(self, new: Sequence[NewItem], most: int) -> list[int]:
        """Append items, keep the newest that retention allows, and return the numbers.

        Raises `UserError` if the user then has more than `most` items.
        """
        counter = users.c.last_item
        count = update(users).where(users.c.id == self.id).values({counter: counter + len(new)})
        last = self.connection.scalar(count.returning(counter)) or 0
        rows = item_rows(self.id, self.key, new, first=last - len(new) + 1)
        self.connection.execute(insert(items), rows)
        if self.retention.items is not None:
            keep_newest(self.connection, self.id, self.retention.items)
        own = select(items.c.number).where(items.c.user_id == self.id).order_by(items.c.number.desc())
        if self.connection.scalar(own.offset(most).limit(1)) is not None:
            raise UserError(
                f"{self.name!r} would have more than {most} items, the limit",
                hint="delete items, or let the newest be kept: personakit users retention --items N",
            )
        return [row["number"] for row in rows]

    def replace_item(self, number: int, fields: Mapping[str, str], date: str | None) -> None:
        """Change an item; raises `UnknownError` if there is none of that number."""
        sealed = _sealed_item(self.id, self.key, number, (fields, date))
        own = items.c.user_id == self.id, items.c.number == number
        self._changed(
            self.connection.execute(update(items).where(*own).values(sealed=sealed)), "item", number
        )
        forget_inferred(self.connection, summaries.c.user_id == self.id)

    def delete_item(self, number: int) -> None:
        """Delete an item; raises `UnknownError` if there is none of that number."""
        own = items.c.user_id == self.id, items.c.number == number
        self._changed(self.connection.execute(delete(items).where(*own)), "item", number)
        forget_inferred(self.connection, summaries.c.user_id == self.id)

    def settings(self) -> dict[str, Any]:
        """Return the settings."""
        rows = self.connection.execute(_SETTINGS, {"user": self.id})
        return {row.name: self._opened(settings, row.name, row.sealed) for row in rows}

    def summaries(self) -> list[StoredSummary]:
        """Return the summaries."""
        own = select(summaries).where(summaries.c.user_id == self.id).order_by(summaries.c.name)
        return [self._summary(row) for row in self.connection.execute(own)]

    def summary(self, model: str) -> StoredSummary | None:
        """Return the summary of a model, if there is one."""
        row = self.connection.execute(_SUMMARY, {"user": self.id, "model": model}).one_or_none()
        return None if row is None else self._summary(row)

    def put_summary(self, model: str, text: str, basis: str = "") -> None:
        """Set the summary of a model, with its basis if it was inferred."""
        self.put(summaries, model, {"text": text, "basis": basis}, edited=not basis)

    def put(self, table: Table, name: str, value: Any, **columns: Any) -> None:
        """Set an entry of a named table."""
        self.connection.execute(delete(table).where(table.c.user_id == self.id, table.c.name == name))
        row = {"user_id": self.id, "name": name, "created": time.time(), **columns}
        sealed = seal(self.key, json.dumps(value).encode(), self.id, table.name, name)
        self.connection.execute(insert(table).values(sealed=sealed, **row))

    def delete_summary(self, model: str) -> None:
        """Delete a summary; raises `UnknownError` if there is none of that model."""
        own = summaries.c.user_id == self.id, summaries.c.name == model
        self._changed(self.connection.execute(delete(summaries).where(*own)), "summary of", model)

    def export(self) -> dict[str, Any]:
        """Return everything."""
        return {
            "user": self.name,
            "created": moment(self.created),
            "items": [asdict(item) for item in self.items()],
            "summaries": [asdict(summary) for summary in self.summaries()],
            "settings": self.settings(),
        }

    def _read(self, statement: Any, after: int, most: int) -> list[StoredItem]:
        days = self.retention.days
        since = 0.0 if days is None else time.time() - days * DAY
        wanted = {"user": self.id, "after": after, "since": since, "most": most}
        return [
            StoredItem(row.number, moment(row.created), **self._opened(items, row.number, row.sealed))
            for row in self.connection.execute(statement, wanted)
        ]

    def _summary(self, row: Row[Any]) -> StoredSummary:
        opened = self._opened(summaries, row.name, row.sealed)
        return StoredSummary(row.name, moment(row.created), edited=row.edited, **opened)

    def _changed(self, done: Any, what: str, which: object) -> None:
        if not done.rowcount:
            raise UnknownError(
                f"{self.name!r} has no {what} {which!r}",
                hint=f"list the user's {'items' if what == 'item' else 'summaries'} to see what there is",
            )

    def _opened(self, table: Table, place: object, sealed: bytes) -> Any:
        return json.loads(unseal(self.key, sealed, self.id, table.name, place))


def item_rows(user_id: int, key: bytes, new: Sequence[NewItem], first: int = 1) -> list[dict[str, Any]]:
    """Return the rows of a user's new items, numbered from `first` on."""
    created = time.time()
    return [
        {
            "user_id": user_id,
            "number": number,
            "created": created,
            "sealed": _sealed_item(user_id, key, number, item),
        }
        for number, item in enumerate(new, start=first)
    ]


def _sealed_item(user_id: int, key: bytes, number: int, item: NewItem) -> bytes:
    fields, date = item
    content = json.dumps({"fields": dict(fields), "date": date}).encode()
    return seal(key, content, user_id, items.name, number)


def described(connection: Connection, named: Sequence[tuple[int, str, float]]) -> list[StoredUser]:
    """Return how much is stored about users, given as (number, name, time of creation)."""
    ids = [user_id for user_id, _, _ in named]
    counts: list[dict[int, int]] = []
    for table in (items, summaries):
        own = select(table.c.user_id, func.count()).where(table.c.user_id.in_(ids)).group_by(table.c.user_id)
        counts.append(dict(connection.execute(own).tuples().all()))
    return [
        StoredUser(name, moment(created), *(count.get(user_id, 0) for count in counts))
        for user_id, name, created in named
    ]


def keep_newest(connection: Connection, user_id: int, count: int) -> int:
    """Delete a user's items except the `count` newest; return how many."""
    newest = select(items.c.number).where(items.c.user_id == user_id).order_by(items.c.number.desc())
    beyond = newest.offset(count).limit(1).scalar_subquery()
    rows = delete(items).where(items.c.user_id == user_id, items.c.number <= beyond)
    deleted: int = connection.execute(rows).rowcount
    if deleted:
        forget_inferred(connection, summaries.c.user_id == user_id)
    return deleted


def forget_inferred(connection: Connection, of: ColumnElement[bool]) -> None:
    """Delete the summaries that were inferred from items of which some are changed or no more."""
    connection.execute(delete(summaries).where(of, summaries.c.edited.is_(False)))
