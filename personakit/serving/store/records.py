"""What the store returns."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass

from personakit.errors import UserError

#: Names of users, tenants and models of summaries: no slash and no control characters.
NAME_PATTERN = r"^[^/\x00-\x1f\x7f-\x9f]{1,256}$"


class UnknownError(UserError):
    """A user, key or entry that this tenant does not have."""


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One item of a user's history, or one edit. `number` counts the user's items (edits) from 1."""

    number: int
    created: str
    fields: Mapping[str, str]
    date: str | None = None


@dataclass(frozen=True, slots=True)
class StoredSummary:
    """A summary of a user that a model inferred, or that was `edited` by hand."""

    model: str
    created: str
    text: str
    edited: bool


@dataclass(frozen=True, slots=True)
class StoredUser:
    """A user and how much is stored."""

    user: str
    created: str
    items: int
    edits: int
    summaries: int


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a tenant keeps items and edits: days, and the newest of each user. None: no limit."""

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


def checked_name(name: str, what: str = "user") -> str:
    """Return a user's or tenant's name; raises `UserError` for one that cannot be part of an address."""
    unpaired = any("\ud800" <= character <= "\udfff" for character in name)
    if re.fullmatch(NAME_PATTERN, name) and name not in (".", "..") and not unpaired:
        return name
    raise UserError(
        f"{what} {name[:40]!r}, expected 1 to 256 characters without slashes and control characters",
        hint=f"use another name for this {what}",
    )


def moment(seconds: float) -> str:
    """Return seconds since 1970 as a date and time (ISO 8601, UTC)."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
