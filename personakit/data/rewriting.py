"""The rewriting format: one rewrite per row (`user_id, original, revised`).

Each row becomes a query, "rewrite `original`", with `revised` as the gold answer and the user's other
rewrites as the profile. Several users may rewrite the same original, so a split by user alone would leak test
texts: the split is by user *and* by original text.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from personakit.data.lamp_formats import build_input, profile_item
from personakit.data.near_duplicates import NearDuplicates
from personakit.data.skips import SkipCounts
from personakit.data.splitting import SPLITS, SplitExamples, SplitPlan
from personakit.data.tables import find_column, leave_out, no_usable_row, read_rows
from personakit.errors import UserError
from personakit.records import Example, Profile, Query

TASK = "rewriting"
COLUMNS = ("user_id", "original", "revised")


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One text before and after a user's rewrite. `id` is unique in its file."""

    id: str
    user_id: str
    original: str
    revised: str


def read_rewrites(
    path: Path, *, columns: Mapping[str, str] | None = None, counts: SkipCounts | None = None
) -> list[Rewrite]:
    """Read the rewrites of a CSV, JSON, JSONL or Parquet file. `columns` maps fields to column names.

    Rows with an empty or missing value are left out and counted. Raises `UserError` with the line for a
    missing column.
    """
    found_counts = SkipCounts() if counts is None else counts
    unknown = set(columns or {}) - set(COLUMNS)
    if unknown:
        raise UserError(
            f'rewrites have no field "{min(unknown)}", they have {", ".join(COLUMNS)}',
            hint="write it as FIELD=COLUMN, for example revised=after",
        )
    rows = list(read_rows(path, found_counts))
    if not rows:
        raise UserError(f"{path} has no rows, expected one per rewrite", hint="add rows")
    fields = {name: find_column(name, (columns or {}).get(name), rows) for name in COLUMNS}
    rewrites = [
        Rewrite(str(number), **{name: row.text(column) for name, column in fields.items()})
        for number, row in enumerate(rows, start=1)
        if not leave_out(row, list(fields.values()), found_counts)
    ]
    if not rewrites:
        raise no_usable_row(path, found_counts)
    return rewrites


def split_rewrites(rewrites: list[Rewrite], plan: SplitPlan) -> SplitExamples:
    """Split by user, then drop texts that would leak. The result depends only on rows and plan.

    A train row whose original occurs in dev or test, and a dev row whose original occurs in test, is dropped
    and counted. A query's profile excludes the user's rewrites of the same original. Near duplicates count as
    equal.
    """
    total = Counter(rewrite.user_id for rewrite in rewrites)
    split_of = plan.split(total)
    rows: dict[str, list[Rewrite]] = {split: [] for split in SPLITS}
    dropped: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    ranked: dict[tuple[bool, int], list[Rewrite]] = defaultdict(list)
    for rewrite in rewrites:
        user = rewrite.user_id
        ranked[total[user] < plan.min_items, seen[user]].append(rewrite)
        seen[user] += 1
    for rank in sorted(ranked):  # the first rows of all users first, users with few rows last
        for rewrite in ranked[rank]:
            rows[split_of[rewrite.user_id]].append(rewrite)
    later_originals: list[str] = []
    for split in reversed(SPLITS):
        in_later_splits = NearDuplicates(later_originals)
        kept = [row for row in rows[split] if not in_later_splits.of(row.original)]
        dropped[f"{split} rows whose original is in a later split"] += len(rows[split]) - len(kept)
        rows[split] = kept
        later_originals += [row.original for row in kept]
    splits = {split: _examples(kept) for split, kept in rows.items()}
    found = {reason: count for reason, count in dropped.items() if count}
    return SplitExamples(splits, found, peers=_peers(rewrites))


def _peers(rewrites: Sequence[Rewrite]) -> dict[str, str]:
    """Return by row id what the next user in the data wrote who rewrote the same text."""
    texts = NearDuplicates([rewrite.original for rewrite in rewrites])
    peers = {}
    for place, rewrite in enumerate(rewrites):
        same = sorted(texts.of(rewrite.original), key=lambda other: (other < place, other))
        others = (rewrites[other] for other in same)
        peer = next((other.revised for other in others if other.user_id != rewrite.user_id), None)
        if peer is not None:
            peers[rewrite.id] = peer
    return peers


def _examples(rows: list[Rewrite]) -> list[Example]:
    by_user: dict[str, list[Rewrite]] = {}
    for row in rows:
        by_user.setdefault(row.user_id, []).append(row)
    originals = {user: NearDuplicates([row.original for row in own]) for user, own in by_user.items()}
    examples = []
    for row in rows:
        same = originals[row.user_id].of(row.original)
        others = [other for place, other in enumerate(by_user[row.user_id]) if place not in same]
        items = tuple(
            profile_item(TASK, other.id, {"original": other.original, "revised": other.revised})
            for other in others
        )
        query = Query(
            id=row.id,
            task=TASK,
            text=build_input(TASK, original=row.original),
            search_text=row.original.strip(),
            user_id=row.user_id,
            gold=row.revised,
        )
        examples.append(Example(query, Profile(row.user_id, items)))
    return examples
