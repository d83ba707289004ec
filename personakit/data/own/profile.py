"""A writer's texts as a profile: one JSON line per text, oldest first, which `infer --profile` reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from personakit.data.own.records import Record

PROFILE = "profile.jsonl"


@dataclass(frozen=True, slots=True)
class Item:
    """One text of the writer. `request` is what it answers, `draft` an earlier version; None: unknown."""

    id: str
    text: str
    date: str | None = None
    request: str | None = None
    draft: str | None = None


def as_items(records: Iterable[Record]) -> list[Item]:
    """Return records as items. An id depends on date and text only: another import gives the same."""
    items: dict[str, Item] = {}
    for record in records:
        id = hashlib.sha256(f"{record.date}\0{record.text}".encode()).hexdigest()[:12]
        items[id] = Item(id, record.text, record.date, record.request, record.draft)
    return list(items.values())


def write_profile(path: Path, items: Sequence[Item]) -> None:
    """Write the items; a field that is unknown is left out."""
    with path.open("w", encoding="utf-8") as handle:
        for item in items:
            row = {key: getattr(item, key) for key in ("id", "date", "request", "draft", "text")}
            handle.write(
                json.dumps({k: v for k, v in row.items() if v is not None}, ensure_ascii=False) + "\n"
            )
