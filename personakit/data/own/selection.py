"""Keeps a writer's texts that are worth keeping, and counts the others by reason."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from dataclasses import replace

from personakit.data.dates import date_key
from personakit.data.near_duplicates import normalized
from personakit.data.own.records import Record
from personakit.data.skips import SkipCounts

MIN_WORDS, MIN_CHARACTERS = 3, 20
MAX_CHARACTERS = 20_000
MAX_REQUEST = 2_000
#: More are of no use to a retriever, and bound the memory.
MAX_ITEMS = 20_000

EMPTY = "texts left out because nothing of their writer's own is in them"
SHORT = f"texts left out because they have fewer than {MIN_WORDS} words and {MIN_CHARACTERS} characters"
LONG = f"texts left out because they have more than {MAX_CHARACTERS} characters"
REPEATED = "texts left out because they repeat another"
OLDER = f"texts left out because {MAX_ITEMS} are newer"
UNDATED = "texts left out because they have no date and others have"
CUT = f"requests cut to {MAX_REQUEST} characters"


def select(records: Iterable[Record], counts: SkipCounts) -> list[Record]:
    """Return the records that are kept, oldest first; without dates, in their order.

    Automatic replies and the like (`Record.skipped`), empty, short, very long and repeated texts are left
    out; of many, the newest are kept. Holds no more than `MAX_ITEMS` records in memory.
    """
    newest: list[tuple[tuple[int, ...], int, Record]] = []
    seen: set[int] = set()
    for number, record in enumerate(records):
        record = replace(record, text=record.text.strip())
        reason = record.skipped and f"texts left out: {record.skipped}"
        reason = reason or _reason(record)
        key = hash(normalized(record.text))
        if reason is None and key in seen:
            reason = REPEATED
        if reason is not None:
            counts.add(reason, record.place)
            continue
        seen.add(key)
        entry = (date_key(record.date) if record.date else (), number, _with_short_request(record, counts))
        if len(newest) < MAX_ITEMS:
            heapq.heappush(newest, entry)
        else:
            counts.add(OLDER, heapq.heappushpop(newest, entry)[2].place)
    kept = [record for _, _, record in sorted(newest, key=lambda entry: entry[:2])]
    dated = [record for record in kept if record.date is not None]
    if dated and len(dated) < len(kept):
        for record in itertools.filterfalse(lambda each: each.date is not None, kept):
            counts.add(UNDATED, record.place)
        return dated
    return kept


def _reason(record: Record) -> str | None:
    text = record.text
    if not text:
        return EMPTY
    if record.draft is None and len(text.split()) < MIN_WORDS and len(text) < MIN_CHARACTERS:
        return SHORT
    return LONG if len(text) > MAX_CHARACTERS else None


def _with_short_request(record: Record, counts: SkipCounts) -> Record:
    request = record.request.strip() if record.request else ""
    if len(request) > MAX_REQUEST:
        counts.add(CUT, record.place)
        request = request[:MAX_REQUEST].rsplit(None, 1)[0]
    return replace(record, request=request or None)
