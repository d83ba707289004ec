"""The rows of an import: their texts on disk, what decides about them in memory.

A large file is read once. Each row's texts go to a spool beside the output, and only the keys of its
pairs (`divide.Key`) stay, some hundred bytes a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, NamedTuple

import orjson

from personakit.data.preferences.divide import Key, key_of, text_key
from personakit.data.preferences.rows import (
    CONTRADICTING,
    REPEATED,
    PreferenceRow,
    Skips,
    Texts,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: where it stood, and where it lies in the spool."""

    place: str
    offset: int
    size: int
    others: bool  # comments, lines about the user or items


class CorpusPair(NamedTuple):
    """One pair of one row: the row's number, which side it stands on there, which it is, its key."""

    row: int
    signal: bool
    number: int
    key: Key


@dataclass(slots=True)
class Person:
    """All that the rows say of one user, repeated and contradicting pairs left out."""

    user: str
    persona: str | None
    rows: list[int]
    signals: list[CorpusPair]
    pairs: list[CorpusPair]
    others: bool


class Corpus:
    """Takes rows, gives people. `read` counts all pairs that came."""

    def __init__(self, spool: IO[bytes], skips: Skips) -> None:
        self.read = self.rows = 0
        self.made_users = False
        self._spool = spool
        self._skips = skips
        self._entries: list[Entry] = []
        self._people: dict[str, Person] = {}
        self._seen: dict[tuple[str, bool], set[Key]] = {}
        self._last: tuple[int, PreferenceRow] | None = None
        self._made: dict[int, str] = {}

    def add(self, row: PreferenceRow) -> None:
        """Take one row; what is of no use in it is counted."""
        self.rows += 1
        self.read += len(row.pairs) + len(row.signal_pairs)
        sides = [
            (signal, number, texts)
            for signal, side in ((True, row.signal_pairs), (False, row.pairs))
            for number, texts in enumerate(side)
            if self._sound(texts, row.place)
        ]
        keyed = [(signal, number, key_of(texts)) for signal, number, texts in sides]
        user = row.user if row.user is not None else self._made_user(row, [key for s, _, key in keyed if s])
        others = bool(row.comments or row.about or row.items)
        pairs, signal_pairs = ([list(each) for each in side] for side in (row.pairs, row.signal_pairs))
        body = orjson.dumps((pairs, signal_pairs, row.comments, row.about, row.items))
        number_of_row = len(self._entries)
        self._entries.append(Entry(row.place, self._spool.tell(), len(body), others))
        self._spool.write(body)
        person = self._people.get(user)
        if person is None:
            person = self._people[user] = Person(user, row.persona, [], [], [], False)
        person.rows.append(number_of_row)
        person.persona = person.persona or row.persona
        person.others |= others
        for signal, number, key in keyed:
            seen = self._seen.setdefault((user, signal), set())
            if key in seen or key.reversed in seen:
                self._skips.add(REPEATED if key in seen else CONTRADICTING, row.place)
                continue
            seen.add(key)
            (person.signals if signal else person.pairs).append(
                CorpusPair(number_of_row, signal, number, key)
            )

    def people(self) -> list[Person]:
        """Return everybody, in the order of their first row."""
        return list(self._people.values())

    def place(self, pair: CorpusPair) -> str:
        """Return where a pair stands, for a message."""
        return self._entries[pair.row].place

    def row_place(self, row: int) -> str:
        """Return where a row stands, for a message."""
        return self._entries[row].place

    def has_others(self, row: int) -> bool:
        """Tell whether a row says more of its user than pairs."""
        return self._entries[row].others

    def texts(self, pairs: Iterable[CorpusPair]) -> list[Texts]:
        """Read pairs back."""
        rows = ((self.row(pair.row), pair) for pair in pairs)
        return [(row.signal_pairs if pair.signal else row.pairs)[pair.number] for row, pair in rows]

    def row(self, number: int) -> PreferenceRow:
        """Read a row back, but for its user and persona."""
        if self._last is None or self._last[0] != number:
            entry = self._entries[number]
            self._spool.seek(entry.offset)
            pairs, signal_pairs, comments, about, items = orjson.loads(self._spool.read(entry.size))
            row = PreferenceRow(
                entry.place,
                None,
                [Texts(*each) for each in pairs],
                [Texts(*each) for each in signal_pairs],
                comments,
                about,
                items,
            )
            self._last = number, row
        return self._last[1]

    def _sound(self, texts: Texts, place: str) -> bool:
        fault = texts.fault()
        if fault is not None:
            self._skips.add(fault, place)
        return fault is None

    def _made_user(self, row: PreferenceRow, signals: list[Key]) -> str:
        """A user of the format that names none: rows with the same signals are one user's."""
        self.made_users = True
        said = [text_key(each) for each in (*row.comments, *row.about)]
        said += [text_key(" ".join(item["fields"].values())) for item in row.items]
        what = hash((frozenset(signals), tuple(said)))
        return self._made.setdefault(what, f"row-{self.rows}")
