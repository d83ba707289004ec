"""Imports a preference file as `preferences/{train,dev,test}.jsonl` and accounts for every pair."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from personakit.data.preferences import alignx, fspo, native
from personakit.data.preferences.corpus import Corpus
from personakit.data.preferences.detect import PREFERENCE_FORMATS
from personakit.data.preferences.pools import OTHERS, split_by_text
from personakit.data.preferences.rows import IS_AN_ANSWER, NO_SIGNALS, PreferenceRow, source_rows
from personakit.data.preferences.signal_split import text_key
from personakit.data.preferences.user_split import SplitUser, split_by_user
from personakit.data.row_formats import FormatChecker
from personakit.data.skips import SkipCount, SkipCounts
from personakit.data.splitting import Fold
from personakit.data.tables import TableRow
from personakit.errors import UserError
from personakit.records import PreferenceUser

SplitBy = Literal["user", "prompt"]
SPLIT_BY: tuple[SplitBy, ...] = ("user", "prompt")
FEW_LEVELS = 20
"""Below this number of users, texts are split instead (FSPO's ELIX has five levels, its Review eight)."""


@dataclass(frozen=True, slots=True)
class PreferenceCounts:
    """The size of one split. `signal_pairs` and `other_signals` are totals over its users."""

    users: int
    pairs: int
    signal_pairs: int
    other_signals: int


@dataclass(frozen=True, slots=True)
class PreferenceReport:
    """The result of an import.

    `pairs` counts every comparison in the source, including signals; each is kept or skipped:
    `pairs == kept + skipped pairs`. (`skipped` also counts other signals, under reasons that say so.)
    `split_by` is "prompt" if the file has too few users to split by user.
    """

    format: str
    split_by: SplitBy
    rows: int
    pairs: int
    kept: int
    splits: Mapping[str, PreferenceCounts]
    skipped: Mapping[str, SkipCount]


def import_preferences(
    source: Path,
    output: Path,
    *,
    format: str,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    user_column: str | None = None,
    split_by: SplitBy | None = None,
    fold: Fold | None = None,
    missing: SkipCounts | None = None,
) -> PreferenceReport:
    """Write the preferences in `source` to `output/preferences/`, split with `seed`.

    `format` is one of `PREFERENCE_FORMATS`. `split_by` None splits by text if the users are a few personas
    (`pools.py`), else by user. `fold`: see `SplitPlan`. `missing` counts missing
    values. Texts go to a temporary file in `output`, not to memory. Raises `UserError` for the first row that
    does not match the format, and if no pair is left.
    """
    if split_by not in (None, *SPLIT_BY):
        raise UserError(
            f'preferences cannot be split by "{split_by}", expected one of {", ".join(SPLIT_BY)}',
            hint="omit it to have it chosen from the file",
        )
    known = PREFERENCE_FORMATS[format]
    skips = SkipCounts()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=output) as spool:
        corpus = Corpus(spool, skips)
        invalid_rows = 0
        for row in _checked(source, columns, format, missing):
            read = known.read(row, skips, user_column)
            if read is None:
                invalid_rows += 1
            else:
                corpus.add(read)
        if not corpus.rows and not invalid_rows:
            raise UserError(f"{source} has no rows, expected one per comparison", hint="add rows")
        chosen_split = split_by or ("user" if user_column is not None else _split_by(format, corpus))
        split = split_by_text if chosen_split == "prompt" else split_by_user
        splits = split(corpus, skips, has_signals=known.has_signals, seed=seed, fold=fold)
        counts = {
            name: _write(output / native.FOLDER / f"{name}.jsonl", users, corpus, skips)
            for name, users in splits.items()
            if users
        }
    if not any(count.pairs for count in counts.values()):
        why = "; ".join(f"{skip.count} {reason} ({skip.first})" for reason, skip in skips.report.items())
        raise UserError(
            f"{source}: none of {corpus.read + invalid_rows} pairs is usable: {why}",
            hint="docs/data.md describes which pairs are usable",
        )
    pairs = corpus.read + invalid_rows
    kept = pairs - skips.total(IS_AN_ANSWER, OTHERS)
    return PreferenceReport(
        format, chosen_split, corpus.rows + invalid_rows, pairs, kept, counts, skips.report
    )


def _checked(
    source: Path, columns: Mapping[str, str] | None, format: str, missing: SkipCounts | None
) -> Iterator[TableRow]:
    checker = FormatChecker(PREFERENCE_FORMATS, format, "preference")
    for row in source_rows(source, columns, missing):
        checker.check(row)
        yield row


def _split_by(format: str, corpus: Corpus) -> SplitBy:
    users = corpus.users()
    if not users:
        return "user"
    if format == alignx.NAME:
        return "prompt" if corpus.derived_users and users[0].persona is not None else "user"
    return "prompt" if format == fspo.NAME and len(users) < FEW_LEVELS else "user"


def _write(path: Path, users: Sequence[SplitUser], corpus: Corpus, skips: SkipCounts) -> PreferenceCounts:
    totals = Counter[str]()

    def users_to_write() -> Iterator[PreferenceUser]:
        for split_user in users:
            user = _user(split_user, corpus, skips)
            if user is None:
                continue
            signals = user.signals
            totals["users"] += 1
            totals["pairs"] += len(user.pairs)
            totals["signal pairs"] += len(signals.pairs)
            totals["others"] += len(signals.comments) + len(signals.about) + len(signals.items)
            yield user

    native.write_users(path, users_to_write())
    return PreferenceCounts(totals["users"], totals["pairs"], totals["signal pairs"], totals["others"])


def _user(split_user: SplitUser, corpus: Corpus, skips: SkipCounts) -> PreferenceUser | None:
    """Return the user with all texts, or None (counted in `skips`) if no signal is left."""
    row = PreferenceRow(
        "",
        split_user.user,
        [*corpus.texts(split_user.pairs)],
        [*corpus.texts(split_user.signals)],
        persona=split_user.persona,
    )
    answers = {key for pair in split_user.pairs for key in (pair.key.chosen, pair.key.rejected)}
    seen: set[tuple[str, int]] = set()

    def new(kind: str, texts: Sequence[str], place: str) -> bool:
        """Return whether the texts are new and not a held-out answer."""
        if not answers.isdisjoint(map(text_key, texts)):
            skips.add(IS_AN_ANSWER, place)
            return False
        signature = kind, hash(tuple(texts))
        is_new = signature not in seen
        seen.add(signature)
        return is_new

    for number in split_user.rows:
        if not corpus.has_other_signals(number):
            continue
        read = corpus.row(number)
        row.comments += [text for text in read.comments if new("comment", [text], read.place)]
        row.about += [text for text in read.about if new("about", [text], read.place)]
        row.items += [item for item in read.items if new("item", [*item["fields"].values()], read.place)]
    if not (row.signal_pairs or row.comments or row.about or row.items):
        skips.add(NO_SIGNALS, corpus.place(split_user.pairs[0]), len(row.pairs))
        return None
    return native.user_of_row(row)
