"""The profile store: tenants, their users, and what each user wrote, sealed with a key per user."""

from personakit.serving.store.api_keys import check_label
from personakit.serving.store.database import StoreBusyError, has_store, keys_are_apart, shown
from personakit.serving.store.encryption import OtherMasterKeyError
from personakit.serving.store.records import (
    LONGEST_TEXT,
    NAME_PATTERN,
    NAME_RULE,
    KeyLimits,
    Retention,
    StoredItem,
    StoredProfile,
    StoredSummary,
    UnknownError,
    basis_of,
    check_texts,
    checked_name,
)
from personakit.serving.store.rotation import rotate_master_key
from personakit.serving.store.store import Access, ProfileStore, open_store
from personakit.serving.store.tenant import TenantStore

__all__ = [
    "LONGEST_TEXT",
    "NAME_PATTERN",
    "NAME_RULE",
    "Access",
    "KeyLimits",
    "OtherMasterKeyError",
    "ProfileStore",
    "Retention",
    "StoreBusyError",
    "StoredItem",
    "StoredProfile",
    "StoredSummary",
    "TenantStore",
    "UnknownError",
    "basis_of",
    "check_label",
    "check_texts",
    "checked_name",
    "has_store",
    "keys_are_apart",
    "open_store",
    "rotate_master_key",
    "shown",
]
