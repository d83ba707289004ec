"""Chats: turns of messages by several people.

Messages of one writer in a row, without an hour between them, are one text. It answers what another wrote
before it, or the message that it names, unless that was more than a day ago.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from personakit.data.own.records import IsMe, Person, Record, date_or_none
from personakit.data.skips import SkipCounts

JOINED, ANSWERED = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Message:
    """One message. Times have no zone. Messages with one `chat` follow each other; `answers` is an `id`.

    `people` are mentioned in it.
    """

    person: Person
    text: str
    time: datetime
    chat: str
    place: str
    id: str = ""
    answers: str | None = None
    people: tuple[Person, ...] = ()


@dataclass(frozen=True, slots=True)
class ChatArchive:
    """The messages of a source, chat by chat, oldest first. `counts` takes what is left out."""

    read: Callable[[SkipCounts], Iterable[Message]]
    counts: SkipCounts
    whose: Person | None = None

    def writers(self) -> Iterable[Person]:
        """Yield the writer of each message."""
        return (message.person for message in self.read(SkipCounts()))

    def records(self, is_me: IsMe) -> Iterator[Record]:
        """Yield the turns of the chosen writers."""
        for _, messages in itertools.groupby(self.read(self.counts), key=lambda message: message.chat):
            before: Message | None = None  # the last turn of another
            by_id: dict[str, Message] = {}
            for turn in _turns(messages, by_id):
                if not is_me(turn.person):
                    before = turn
                    continue
                asked = before if turn.answers is None else by_id.get(turn.answers, before)
                if asked is not None and is_me(asked.person):  # a reply to oneself goes on
                    asked = before
                answers = asked is not None and timedelta() <= turn.time - asked.time <= ANSWERED
                yield Record(
                    turn.person,
                    turn.text,
                    turn.place,
                    date=date_or_none(turn.time),
                    request=asked.text if asked is not None and answers else None,
                    people=turn.people + (() if asked is None else asked.people),
                )

    def owner(self) -> Person | None:
        """Return whom the export belongs to, if it says so."""
        return self.whose


def _turns(messages: Iterable[Message], by_id: dict[str, Message]) -> Iterator[Message]:
    """Yield the messages of a chat, those of one writer in a row joined; note each message by its id."""
    turn: Message | None = None
    last: datetime | None = None
    for message in messages:
        by_id[message.id] = message
        if (
            turn is not None
            and last is not None
            and message.person.id == turn.person.id
            and message.answers in (None, turn.answers)
            and timedelta() <= message.time - last <= JOINED
        ):
            turn = replace(turn, text=f"{turn.text}\n{message.text}", people=turn.people + message.people)
        else:
            if turn is not None:
                yield turn
            turn = message
        last = message.time
    if turn is not None:
        yield turn
