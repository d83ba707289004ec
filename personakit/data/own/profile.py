"""A writer's texts as a profile: one JSON line per text, oldest first, which `infer --profile` reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from personakit.data.own.records import Record

PROFILE = "profile.jsonl"
#: The field and its value in a row in which the import replaced names.
REPLACED, YES = "names_replaced", "yes"


@dataclass(frozen=True, slots=True)
class Item:
    """One text of the writer. `request` is what it answers, `draft` an earlier version; None: unknown.

    `names_replaced` is `YES` if the import replaced names in it.
    """

    id: str
    text: str
    date: str | None = None
    request: str | None = None
    draft: str | None = None
    names_replaced: str | None = None


def text_id(date: str | None, text: str) -> str:
    """Return the id of an item: the same date and text have the same, wherever they come from."""
    return hashlib.sha256(f"{date}\0{text}".encode()).hexdigest()[:12]


def as_items(records: Sequence[Record], originals: Sequence[Record]) -> list[Item]:
    """Return records as items. An id is that of the original date and text: another import gives the same."""
    items: dict[str, Item] = {}
    for record, original in zip(records, originals, strict=True):
        id = text_id(original.date, original.text)
        items[id] = Item(
            id, record.text, record.date, record.request, record.draft, YES if record.replaced else None
        )
    return list(items.values())


def write_profile(path: Path, items: Sequence[Item]) -> None:
    """Write the items. A field that no item has is left out; one that other items have is an empty text."""
    fields = ("id", "date", "request", "draft", "text", REPLACED)
    known = [name for name in fields if any(getattr(item, name) is not None for item in items)]
    with path.open("w", encoding="utf-8") as handle:
        for item in items:
            row = {name: getattr(item, name) or "" for name in known}
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")
