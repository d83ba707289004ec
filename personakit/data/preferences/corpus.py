"""The rows of an import: texts on disk, keys in memory.

A large file is read once. The texts of each row go to a temporary file next to the output; only the keys of
its pairs (`signal_split.PairKey`) stay in memory, about a hundred bytes per row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, NamedTuple

import orjson

from personakit.data.preferences.rows import CONTRADICTING, REPEATED, PairTexts, PreferenceRow
from personakit.data.preferences.signal_split import PairKey, pair_key, text_key
from personakit.data.skips import SkipCounts


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: its place in the source, and its position in the temporary file."""

    place: str
    offset: int
    size: int
    has_other_signals: bool  # whether the row has comments, demographic lines or items


class CorpusPair(NamedTuple):
    """One pair: its row, whether it is a signal pair there, its index among them, and its key."""

    row: int
    is_signal: bool
    number: int
    key: PairKey


@dataclass(slots=True)
class ImportedUser:
    """All rows of one user, without repeated and contradicting pairs."""

    user: str
    persona: str | None
    rows: list[int]
    signals: list[CorpusPair]
    pairs: list[CorpusPair]
    has_other_signals: bool


class Corpus:
    """Collects rows and groups them by user. `read` counts all pairs."""

    def __init__(self, spool: IO[bytes], skips: SkipCounts) -> None:
        self.read = self.rows = 0
        self.derived_users = False
        self._spool = spool
        self._skips = skips
        self._entries: list[Entry] = []
        self._users: dict[str, ImportedUser] = {}
        self._seen: dict[tuple[str, bool], set[PairKey]] = {}
        self._last: tuple[int, PreferenceRow] | None = None
        self._derived_ids: dict[int, str] = {}

    def add(self, row: PreferenceRow) -> None:
        """Add one row. Unusable pairs are counted in `skips`."""
        self.rows += 1
        self.read += len(row.pairs) + len(row.signal_pairs)
        sides = [
            (is_signal, number, texts)
            for is_signal, side in ((True, row.signal_pairs), (False, row.pairs))
            for number, texts in enumerate(side)
            if self._usable(texts, row.place)
        ]
        keyed = [(is_signal, number, pair_key(texts)) for is_signal, number, texts in sides]
        user = (
            row.user
            if row.user is not None
            else self._derived_user_id(row, [key for s, _, key in keyed if s])
        )
        has_other_signals = bool(row.comments or row.about or row.items)
        pairs, signal_pairs = ([list(texts) for texts in side] for side in (row.pairs, row.signal_pairs))
        body = orjson.dumps((pairs, signal_pairs, row.comments, row.about, row.items))
        row_number = len(self._entries)
        self._entries.append(Entry(row.place, self._spool.tell(), len(body), has_other_signals))
        self._spool.write(body)
        user_record = self._users.get(user)
        if user_record is None:
            user_record = self._users[user] = ImportedUser(user, row.persona, [], [], [], False)
        user_record.rows.append(row_number)
        user_record.persona = user_record.persona or row.persona
        user_record.has_other_signals |= has_other_signals
        for is_signal, number, key in keyed:
            seen = self._seen.setdefault((user, is_signal), set())
            if key in seen or key.reversed in seen:
                self._skips.add(REPEATED if key in seen else CONTRADICTING, row.place)
                continue
            seen.add(key)
            (user_record.signals if is_signal else user_record.pairs).append(
                CorpusPair(row_number, is_signal, number, key)
            )

    def users(self) -> list[ImportedUser]:
        """Return all users, in the order of their first row."""
        return list(self._users.values())

    def place(self, pair: CorpusPair) -> str:
        """Return a pair's place in the source, for messages."""
        return self._entries[pair.row].place

    def row_place(self, row: int) -> str:
        """Return a row's place in the source, for messages."""
        return self._entries[row].place

    def has_other_signals(self, row: int) -> bool:
        """Return whether a row has signals other than pairs."""
        return self._entries[row].has_other_signals

    def texts(self, pairs: Iterable[CorpusPair]) -> list[PairTexts]:
        """Read the texts of pairs back."""
        rows = ((self.row(pair.row), pair) for pair in pairs)
        return [(row.signal_pairs if pair.is_signal else row.pairs)[pair.number] for row, pair in rows]

    def row(self, number: int) -> PreferenceRow:
        """Read a row back, without its user and persona."""
        if self._last is None or self._last[0] != number:
            entry = self._entries[number]
            self._spool.seek(entry.offset)
            pairs, signal_pairs, comments, about, items = orjson.loads(self._spool.read(entry.size))
            row = PreferenceRow(
                entry.place,
                None,
                [PairTexts(*pair) for pair in pairs],
                [PairTexts(*pair) for pair in signal_pairs],
                comments,
                about,
                items,
            )
            self._last = number, row
        return self._last[1]

    def _usable(self, texts: PairTexts, place: str) -> bool:
        problem = texts.problem()
        if problem is not None:
            self._skips.add(problem, place)
        return problem is None

    def _derived_user_id(self, row: PreferenceRow, signals: list[PairKey]) -> str:
        """Return a user id for a row without one: rows with equal signals get the same id."""
        self.derived_users = True
        parts = [text_key(text) for text in (*row.comments, *row.about)]
        parts += [text_key(" ".join(item["fields"].values())) for item in row.items]
        signature = hash((frozenset(signals), tuple(parts)))
        return self._derived_ids.setdefault(signature, f"row-{self.rows}")
