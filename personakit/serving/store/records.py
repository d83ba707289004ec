"""What the store returns."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from personakit.errors import UserError

#: Names of users, tenants and models of summaries: no slash and no control characters.
NAME_PATTERN = r"^[^/\x00-\x1f\x7f-\x9f]{1,256}$"
NAME_RULE = "1 to 256 characters without slashes and control characters"
LONGEST_TEXT = 100_000
"""Characters of a text of an item or a summary. Our choice."""


class UnknownError(UserError):
    """A user, key or entry that this tenant does not have."""


@dataclass(frozen=True, slots=True)
class StoredItem:
    """One item of a user's history. `number` counts the user's items from 1."""

    number: int
    created: str
    fields: Mapping[str, str]
    date: str | None = None


@dataclass(frozen=True, slots=True)
class StoredSummary:
    """A summary of a user that a model inferred, or that was `edited` by hand.

    `basis` is the hash of what it was inferred from (`basis_of`), "" if it was written by hand.
    """

    model: str
    created: str
    text: str
    edited: bool
    basis: str


@dataclass(frozen=True, slots=True)
class StoredProfile:
    """What an answer needs of a user; empty for one who is not `known`."""

    items: Sequence[StoredItem] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    summary: StoredSummary | None = None
    known: bool = True


@dataclass(frozen=True, slots=True)
class StoredUser:
    """A user and how much is stored."""

    user: str
    created: str
    items: int
    summaries: int


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a tenant keeps items: days, and the newest of each user. None: no limit."""

    days: float | None = None
    items: int | None = None


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What a key may do in one process of the service. None: no limit."""

    requests_per_minute: int | None = None
    concurrent_requests: int | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. `user` is the one that it is bound to."""

    id: int
    label: str
    user: str | None
    created: str
    revoked: str | None
    limits: KeyLimits


def basis_of(items: Sequence[StoredItem], version: str) -> str:
    """Return a hash of a user's items and of the version of the model that infers a summary from them."""
    content = json.dumps([version, [[item.number, dict(item.fields), item.date] for item in items]])
    return hashlib.sha256(content.encode()).hexdigest()


def checked_name(name: str, what: str = "user") -> str:
    """Return a user's or tenant's name; raises `UserError` for one that cannot be part of an address."""
    unpaired = any("\ud800" <= character <= "\udfff" for character in name)
    if re.fullmatch(NAME_PATTERN, name) and name not in (".", "..") and not unpaired:
        return name
    raise UserError(
        f"{what} {name[:40]!r}, expected {NAME_RULE}",
        hint=f"use another name for this {what}",
    )


def check_texts(texts: Mapping[str, str], what: str) -> None:
    """Raise `UserError` if a text of an item or a summary is longer than `LONGEST_TEXT` or has a NUL."""
    for name, text in texts.items():
        if "\0" in text:
            raise UserError(f'{what}: its "{name}" has a NUL character, expected text', hint="remove it")
        if len(text) > LONGEST_TEXT:
            raise UserError(
                f'{what}: its "{name}" has {len(text)} characters, expected at most {LONGEST_TEXT}',
                hint="shorten it",
            )


def moment(seconds: float) -> str:
    """Return seconds since 1970 as a date and time (ISO 8601, UTC)."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
