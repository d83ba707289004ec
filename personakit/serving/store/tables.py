"""The tables of the profile store.

What a user wrote, and the user's name, are sealed with the user's key (`encryption.py`). The keys are in
tables of their own, which can be in another database: backups of the first are unreadable without them.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

LONGEST_LABEL = 256
_ID = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers only this type by itself

metadata = MetaData()
"""The tables with the profiles; `migrations` creates them."""

tenants = Table(
    "tenants",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", String(256), nullable=False, unique=True),
    Column("created", Float, nullable=False),
    Column("keep_days", Float),
    Column("keep_items", Integer),
)

users = Table(
    "users",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("lookup", LargeBinary, nullable=False),  # a keyed hash of the name, to find it
    Column("key_id", LargeBinary, nullable=False),  # the row of `user_keys`
    Column("name", LargeBinary, nullable=False),
    Column("created", Float, nullable=False),
    Column("last_item", BigInteger, nullable=False),  # numbers are not used again
    UniqueConstraint("tenant_id", "lookup", name="users_of_tenant"),
    sqlite_autoincrement=True,  # the number of a forgotten user is not used again
)


items = Table(
    "items",
    metadata,
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("number", BigInteger, primary_key=True),  # counts a user's items from 1
    Column("created", Float, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Index("items_created", "created"),
    sqlite_with_rowid=False,  # a user's rows lie together
)


def _named(name: str, *columns: Column[bool]) -> Table:
    """A mapping per user."""
    return Table(
        name,
        metadata,
        Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        Column("name", String(256), primary_key=True),
        Column("created", Float, nullable=False),
        Column("sealed", LargeBinary, nullable=False),
        *columns,
        sqlite_with_rowid=False,
    )


summaries = _named("summaries", Column("edited", Boolean, nullable=False))
settings = _named("settings")

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), index=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("label", String(LONGEST_LABEL), nullable=False),
    Column("created", Float, nullable=False),
    Column("revoked", Float),
    Column("requests_per_minute", Integer),
    Column("concurrent_requests", Integer),
    sqlite_autoincrement=True,
)

keys_metadata = MetaData()
"""The tables with the keys of users."""

user_keys = Table(
    "user_keys",
    keys_metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

secrets = Table(
    "secrets",
    keys_metadata,
    Column("name", String(64), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)
