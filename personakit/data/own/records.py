"""What every source of own texts yields, and the two ways to read one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from personakit.data.dates import parse_date
from personakit.data.skips import SkipCounts


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who wrote or received texts. `id` is an address, a user name or a number; `name` may be ""."""

    id: str
    name: str = ""

    @classmethod
    def named(cls, name: str) -> Person:
        """Return somebody of whom a source has the name only, which is then also the id."""
        return cls(name, name)

    @property
    def label(self) -> str:
        """The person in a message: `Lena Weiss <lena@weiss.example>`."""
        return self.id if self.name in ("", self.id) else f"{self.name} <{self.id}>"


#: Who wrote the texts of a source that names nobody.
ONLY_PERSON = Person("me")


@dataclass(frozen=True, slots=True)
class Record:
    """One text. `request` is what it answers, `draft` an earlier version of it; both may be missing.

    `date` is a date as the project writes it (`dates.py`). `place` names the text in a message to the user.
    `people` are named in it or around it. `skipped` is the reason why it is no text of the writer's own.
    `replaced` says that an import replaced names in it.
    """

    writer: Person
    text: str
    place: str
    date: str | None = None
    request: str | None = None
    draft: str | None = None
    people: tuple[Person, ...] = ()
    skipped: str | None = None
    replaced: bool = False


BY_OTHERS = "texts left out because another wrote them"

IsMe = Callable[[Person], bool]


class Archive(Protocol):
    """An opened source."""

    def writers(self) -> Iterable[Person]:
        """Yield the writer of each text."""

    def records(self, is_me: IsMe) -> Iterator[Record]:
        """Yield the texts of the writers for whom `is_me` is true, each with what it answers."""

    def owner(self) -> Person | None:
        """Return whom the source belongs to, if it says so."""


@dataclass(frozen=True, slots=True)
class SimpleArchive:
    """A source whose texts are read twice, to list the writers first. `counts` takes what is left out."""

    read: Callable[[SkipCounts], Iterable[Record]]
    counts: SkipCounts

    def writers(self) -> Iterable[Person]:
        """Yield the writer of each text."""
        return (record.writer for record in self.read(SkipCounts()))

    def records(self, is_me: IsMe) -> Iterator[Record]:
        """Yield the texts of the chosen writers; count those of others."""
        for record in self.read(self.counts):
            if is_me(record.writer):
                yield record
            else:
                self.counts.add(BY_OTHERS, record.place)

    def owner(self) -> Person | None:
        """Return None: nothing says whom these texts belong to."""
        return None


def date_or_none(value: object) -> str | None:
    """Return a date as text, None where it cannot be read."""
    try:
        return parse_date(value)
    except (ValueError, OverflowError, OSError):
        return None
