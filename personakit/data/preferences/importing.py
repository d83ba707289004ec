"""Imports a preference file: `preferences/{train,dev,test}.jsonl`, and what became of every pair."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from personakit.data.preferences import alignx, fspo, native
from personakit.data.preferences.corpus import Corpus
from personakit.data.preferences.detect import PREFERENCE_FORMATS, OneFormat
from personakit.data.preferences.divide import text_key
from personakit.data.preferences.pools import OTHERS, split_texts
from personakit.data.preferences.rows import (
    IS_AN_ANSWER,
    NO_SIGNALS,
    PreferenceRow,
    Skip,
    Skips,
    source_rows,
)
from personakit.data.preferences.user_split import MadeUser, split_people
from personakit.data.tables import Row
from personakit.errors import UserError
from personakit.records import PreferenceUser

SplitBy = Literal["user", "prompt"]
SPLIT_BY: tuple[SplitBy, ...] = ("user", "prompt")
FEW_LEVELS = 20
"""FSPO's ELIX has five levels and its Review eight: under this many, texts are split, not users."""


@dataclass(frozen=True, slots=True)
class PreferenceCounts:
    """How much one split holds; `signal_pairs` and `other_signals` over all users."""

    users: int
    pairs: int
    signal_pairs: int
    other_signals: int


@dataclass(frozen=True, slots=True)
class PreferenceReport:
    """What an import read, kept and left out.

    `pairs` counts every comparison read, those that rows hold as signals included; each of them is
    kept or skipped: `pairs == kept + sum of the skipped pairs`. (`skipped` also counts comments and
    other things that are no pairs; their reasons say so.) `split_by` is "prompt" where the file knows
    too few users to split them.
    """

    format: str
    split_by: SplitBy
    rows: int
    pairs: int
    kept: int
    splits: Mapping[str, PreferenceCounts]
    skipped: Mapping[str, Skip]


def import_preferences(
    source: Path,
    output: Path,
    *,
    format: str,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    user_column: str | None = None,
    split_by: SplitBy | None = None,
) -> PreferenceReport:
    """Write the preferences in `source` to `output/preferences/`, split from `seed`.

    `format` is one of `PREFERENCE_FORMATS`. `split_by` is found from the file unless given: its texts
    are split where its users are a few personas (`pools.py`), else its users. The texts are spooled
    beside `output`, not held in memory. Raises `UserError` for the first row that is not in the format,
    and where no pair is left.
    """
    if split_by not in (None, *SPLIT_BY):
        raise UserError(
            f'preferences are not split by "{split_by}", expected one of {", ".join(SPLIT_BY)}',
            hint="leave it out to have it found from the file",
        )
    known = PREFERENCE_FORMATS[format]
    skips = Skips()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=output) as spool:
        corpus = Corpus(spool, skips)
        unread = 0
        for row in _checked(source, columns, format):
            read = known.read(row, skips, user_column)
            if read is None:
                unread += 1
            else:
                corpus.add(read)
        if not corpus.rows and not unread:
            raise UserError(f"{source} has no rows, expected one for each comparison", hint="add rows to it")
        by = split_by or ("user" if user_column is not None else _split_by(format, corpus))
        split = split_texts if by == "prompt" else split_people
        splits = split(corpus, skips, divided=known.divided, seed=seed)
        counts = {
            name: _write(output / native.FOLDER / f"{name}.jsonl", users, corpus, skips)
            for name, users in splits.items()
            if users
        }
    if not any(each.pairs for each in counts.values()):
        why = "; ".join(f"{skip.count} {reason} ({skip.first})" for reason, skip in skips.report.items())
        raise UserError(
            f"{source}: of {corpus.read + unread} pairs none is left: {why}",
            hint="docs/data.md says which pairs can be used",
        )
    pairs = corpus.read + unread
    kept = pairs - skips.total(IS_AN_ANSWER, OTHERS)
    return PreferenceReport(format, by, corpus.rows + unread, pairs, kept, counts, skips.report)


def _checked(source: Path, columns: Mapping[str, str] | None, format: str) -> Iterator[Row]:
    one = OneFormat(format)
    for row in source_rows(source, columns):
        one.check(row)
        yield row


def _split_by(format: str, corpus: Corpus) -> SplitBy:
    people = corpus.people()
    if not people:
        return "user"
    if format == alignx.NAME:
        return "prompt" if corpus.made_users and people[0].persona is not None else "user"
    return "prompt" if format == fspo.NAME and len(people) < FEW_LEVELS else "user"


def _write(path: Path, users: Sequence[MadeUser], corpus: Corpus, skips: Skips) -> PreferenceCounts:
    totals = Counter[str]()

    def counted() -> Iterator[PreferenceUser]:
        for made in users:
            user = _user(made, corpus, skips)
            if user is None:
                continue
            signals = user.signals
            totals["users"] += 1
            totals["pairs"] += len(user.pairs)
            totals["signal pairs"] += len(signals.pairs)
            totals["others"] += len(signals.comments) + len(signals.about) + len(signals.items)
            yield user

    native.write_users(path, counted())
    return PreferenceCounts(totals["users"], totals["pairs"], totals["signal pairs"], totals["others"])


def _user(made: MadeUser, corpus: Corpus, skips: Skips) -> PreferenceUser | None:
    """The user's texts; None, and counted, where no signal is left of them."""
    row = PreferenceRow(
        "",
        made.user,
        [*corpus.texts(made.pairs)],
        [*corpus.texts(made.signals)],
        persona=made.persona,
    )
    answers = {key for pair in made.pairs for key in (pair.key.chosen, pair.key.rejected)}
    seen: set[tuple[str, int]] = set()

    def new(kind: str, texts: Sequence[str], place: str) -> bool:
        """Whether it says something that neither an earlier row nor a held-out answer says."""
        if not answers.isdisjoint(map(text_key, texts)):
            skips.add(IS_AN_ANSWER, place)
            return False
        mark = kind, hash(tuple(texts))
        is_new = mark not in seen
        seen.add(mark)
        return is_new

    for number in made.rows:
        if not corpus.has_others(number):
            continue
        read = corpus.row(number)
        row.comments += [each for each in read.comments if new("comment", [each], read.place)]
        row.about += [each for each in read.about if new("about", [each], read.place)]
        row.items += [each for each in read.items if new("item", [*each["fields"].values()], read.place)]
    if not (row.signal_pairs or row.comments or row.about or row.items):
        skips.add(NO_SIGNALS, corpus.place(made.pairs[0]), len(row.pairs))
        return None
    return native.user_of_row(row)
