"""The rewriting format: a user's rewrites, one a row (`user_id, original, revised`).

Each row becomes a query, "rewrite `original`", with `revised` as its gold answer and the user's
other rewrites as the profile. People are often given the same originals to rewrite, so a split by
user alone would let a model see test texts: the split is by user *and* by original text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from personakit.data.lamp_formats import build_input, profile_item
from personakit.data.near_duplicates import NearDuplicates
from personakit.data.splitting import SPLITS, SplitExamples, split_users
from personakit.data.tables import find_column, read_rows
from personakit.errors import UserError
from personakit.records import Example, Profile, Query

TASK = "rewriting"
COLUMNS = ("user_id", "original", "revised")


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One text as it was, and as this user made it; `id` is unique in its file."""

    id: str
    user_id: str
    original: str
    revised: str


def read_rewrites(path: Path, *, columns: Mapping[str, str] | None = None) -> list[Rewrite]:
    """Read the rewrites of a CSV, JSONL or Parquet file; `columns` says where they are called otherwise.

    Raises `UserError` naming the line for a missing column or an empty value.
    """
    unknown = set(columns or {}) - set(COLUMNS)
    if unknown:
        raise UserError(
            f'rewrites have no field "{min(unknown)}", they have {", ".join(COLUMNS)}',
            hint="write it as FIELD=COLUMN, for example revised=after",
        )
    rewrites: list[Rewrite] = []
    found: dict[str, str] = {}
    for number, row in enumerate(read_rows(path), start=1):
        if not found:
            names = list(row.values)
            found = {each: find_column(each, (columns or {}).get(each), names, row.place) for each in COLUMNS}
        values = {each: row.text(found[each]) for each in COLUMNS}
        for each, value in values.items():
            if not value.strip():
                raise UserError(
                    f'{row.place}: "{found[each]}" is empty, expected a text',
                    hint="fill it in, or remove the row",
                )
        rewrites.append(Rewrite(str(number), **values))
    if not rewrites:
        raise UserError(f"{path} has no rows, expected one for each rewrite", hint="add rows to it")
    return rewrites


def split_rewrites(rewrites: list[Rewrite], seed: int) -> SplitExamples:
    """Split by user, then drop what would leak: the same seed gives the same split.

    A row of train whose original stands in dev or test, and a row of dev whose original stands in
    test, is dropped and counted. A query's profile leaves out the user's rewrites of the same original.
    Near-duplicates count as the same.
    """
    split_of = split_users((rewrite.user_id for rewrite in rewrites), seed)
    rows: dict[str, list[Rewrite]] = {split: [] for split in SPLITS}
    for rewrite in rewrites:
        rows[split_of[rewrite.user_id]].append(rewrite)
    dropped: Counter[str] = Counter()
    later: list[str] = []
    for split in reversed(SPLITS):
        taken = NearDuplicates(later)
        kept = [row for row in rows[split] if not taken.of(row.original)]
        dropped[f"{split} rows whose original is in a later split"] += len(rows[split]) - len(kept)
        rows[split] = kept
        later += [row.original for row in kept]
    splits = {split: _examples(kept) for split, kept in rows.items()}
    return SplitExamples(splits, {reason: count for reason, count in dropped.items() if count})


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
